"""PCP and NAT-PMP on the wire, as in their RFCs, and what hostile bytes can do: nothing."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import example, given
from hypothesis import strategies as st

from wgautomesh.portmap import natpmp, pcp
from wgautomesh.portmap.actions import Trouble
from wgautomesh.portmap.epoch import Epoch
from wgautomesh.values import Endpoint

NONCE = bytes(range(12))
OURS = IPv4Address("192.168.2.10")
ports = st.integers(0, 65535)
words = st.integers(0, 2**32 - 1)


def test_nat_pmp_requests_are_those_of_the_rfc() -> None:
    assert bytes([0, 0]) == natpmp.ASK_ADDRESS
    assert natpmp.ask_mapping(51820, 1, 7200) == bytes.fromhex("0001 0000 ca6c 0001 00001c20")


NOT_ALLOWED = natpmp.Refused(True, Trouble.REFUSED, "not allowed")
NO_ADDRESS = natpmp.Refused(False, Trouble.PRIVATE, "it has no public address")


def test_nat_pmp_answers() -> None:
    assert natpmp.decode(bytes.fromhex("0080 0000 00000007 2c800201")) == natpmp.Address(
        IPv4Address("44.128.2.1"), 7
    )
    assert natpmp.decode(bytes.fromhex("0081 0000 00000007 ca6c 0001 00000e10")) == natpmp.Mapped(
        51820, 1, 3600, 7
    )
    assert natpmp.decode(bytes.fromhex("0081 0002 00000007 ca6c 0000 00000000")) == natpmp.Refused(
        True, Trouble.REFUSED, "not allowed"
    )
    assert natpmp.decode(bytes.fromhex("0080 0003 00000007 00000000")) == natpmp.Refused(
        False, Trouble.PRIVATE, "it has no public address"
    )
    assert natpmp.decode(bytes.fromhex("0081 0001 00000007")) == natpmp.NoPcp()


def test_a_pcp_request_is_that_of_the_rfc() -> None:
    asked = pcp.ask_mapping(OURS, NONCE, 51820, Endpoint(IPv4Address(0), 1), 3600)
    mapped_client = "00000000 00000000 0000ffff c0a8020a"
    mapped_zero = "00000000 00000000 0000ffff 00000000"
    assert asked == bytes.fromhex(
        f"0201 0000 00000e10 {mapped_client} {NONCE.hex()} 11 000000 ca6c 0001 {mapped_zero}"
    )
    ours = IPv6Address("2a0e:44::1")
    assert pcp.ask_announcement(ours) == bytes.fromhex("0200 0000 00000000") + ours.packed


def pcp_answer(external: Endpoint, *, result: int = 0, protocol: int = 17, opcode: int = 0x81) -> bytes:
    wide = external.ip.packed if external.ip.version == 6 else b"\0" * 10 + b"\xff\xff" + external.ip.packed
    head = bytes([2, opcode, 0, result]) + (3600).to_bytes(4, "big") + (7).to_bytes(4, "big") + bytes(12)
    body = NONCE + bytes([protocol, 0, 0, 0]) + (51820).to_bytes(2, "big") + external.port.to_bytes(2, "big")
    return head + body + wide


def test_pcp_answers() -> None:
    for external in (Endpoint(ip_address("44.128.2.1"), 1), Endpoint(ip_address("2a0e:44::1"), 51820)):
        assert pcp.decode(pcp_answer(external)) == pcp.Mapped(NONCE, 51820, external, 3600, 7)
    somewhere = Endpoint(IPv4Address(0), 0)
    assert pcp.decode(pcp_answer(somewhere, result=2)) == pcp.Refused(True, Trouble.REFUSED, "not allowed")
    assert pcp.decode(pcp_answer(somewhere, result=11)) == pcp.Refused(True, Trouble.TAKEN, "port taken")
    assert pcp.decode(pcp_answer(somewhere, opcode=0x80)[:24]) == pcp.Announcement(7)
    assert pcp.decode(pcp_answer(somewhere, protocol=6)) is None
    assert pcp.decode(pcp_answer(somewhere, opcode=0x01)) is None


@given(st.binary(max_size=1200))
@example(bytes([0, 129]) + bytes(14))
@example(bytes([2, 129]) + bytes(58))
@example(bytes([2, 128]) + bytes(22))
def test_no_bytes_at_all_raise(data: bytes) -> None:
    natpmp.decode(data)
    pcp.decode(data)


@given(st.integers(0, 59), st.integers(1101, 2000))
def test_truncated_and_oversized_answers_are_none(short: int, long: int) -> None:
    whole = pcp_answer(Endpoint(ip_address("44.128.2.1"), 1))
    assert pcp.decode(whole[:short]) is None
    assert pcp.decode(whole + bytes(long - len(whole))) is None


@given(ports, ports, words, words)
def test_a_nat_pmp_mapping_survives_the_wire(internal: int, external: int, lifetime: int, epoch: int) -> None:
    answer = bytes([0, 129, 0, 0]) + epoch.to_bytes(4, "big")
    answer += natpmp.ask_mapping(internal, external, lifetime)[4:]
    assert natpmp.decode(answer) == natpmp.Mapped(internal, external, lifetime, epoch)


@given(words, st.floats(0, 1e6), st.floats(0, 5000), st.floats(-1, 1))
def test_an_honest_clock_goes_on_in_both_protocols(said: int, at: float, passed: float, late: float) -> None:
    first, later = Epoch(said, at), Epoch(said + int(passed), at + passed + late)
    assert later.continues_pcp(first)
    assert later.continues_nat_pmp(first)


@given(st.integers(100, 2**31), st.floats(60, 5000))
def test_a_clock_that_began_anew_is_noticed(said: int, passed: float) -> None:
    first, later = Epoch(said, 0.0), Epoch(0, passed)
    assert not later.continues_pcp(first)
    assert not later.continues_nat_pmp(first)


def test_a_clock_that_stood_still_or_leapt_is_noticed_by_pcp() -> None:
    first = Epoch(1000, 0.0)
    assert not Epoch(1000, 60.0).continues_pcp(first)
    assert not Epoch(2000, 60.0).continues_pcp(first)
