"""Talking to the kernel: rtnetlink where that is enough, a scripted socket where it must misbehave."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv6Address

import pytest

from wgautomesh.values import Endpoint, Key, Peer
from wgautomesh.wireguard import nlsocket
from wgautomesh.wireguard.choose import interface_kind, open_wireguard
from wgautomesh.wireguard.kernel import KernelWireGuard
from wgautomesh.wireguard.netlink import (
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
    message,
    messages,
)
from wgautomesh.wireguard.nlsocket import NetlinkSocket

FAMILY = 0x25
DONE, ACK = struct.pack("=i", 0), struct.pack("=i", 0) + bytes(16)
DEVICE = bytes(4) + attribute(1, struct.pack("=I", 7)) + attribute(2, b"wg0\0")

Answer = tuple[int, int, bytes]  # type, flags, payload


class ScriptedSocket:
    """Stands in for the kernel: each request is answered with the next list of datagrams or errors."""

    def __init__(self, *answers: list[list[Answer] | OSError]) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[int, int, int, bytes]] = []
        self._waiting: Iterator[list[Answer] | OSError] = iter(())

    def sendto(self, raw: bytes, address: tuple[int, int]) -> None:
        assert address == (0, 0)
        self.requests += messages(raw)
        self._waiting = iter(self.answers.pop(0))

    def recvfrom(self, size: int) -> tuple[bytes, tuple[int, int]]:
        answer = next(self._waiting, TimeoutError())
        if isinstance(answer, OSError):
            raise answer
        sequence = self.requests[-1][2]
        raw = b""
        for kind, flags, payload in answer:
            one = bytearray(message(kind, 0, sequence, payload))
            one[6:8] = struct.pack("=H", flags)
            raw += bytes(one) + bytes(-len(one) % 4)
        return raw, (0, 0)

    def settimeout(self, seconds: float) -> None:
        assert 0 < seconds <= 5

    def close(self) -> None:
        pass


FAMILY_ANSWER: list[list[Answer] | OSError] = [
    [(16, 0, bytes(4) + attribute(1, struct.pack("=H", FAMILY)))],
    [(NLMSG_ERROR, 0, ACK)],
]


def error(code: int) -> list[list[Answer] | OSError]:
    return [[(NLMSG_ERROR, 0, struct.pack("=i", -code) + bytes(16))]]


def dump(flags: int = 0, device: bytes = DEVICE) -> list[list[Answer] | OSError]:
    return [[(FAMILY, flags, device)], [(NLMSG_DONE, flags, DONE)]]


def scripted(
    monkeypatch: pytest.MonkeyPatch, *answers: list[list[Answer] | OSError]
) -> tuple[KernelWireGuard, ScriptedSocket]:
    fake = ScriptedSocket(FAMILY_ANSWER, *answers)
    monkeypatch.setattr("socket.socket", lambda *_: fake)
    return KernelWireGuard("wg0"), fake


def refusal(wireguard: KernelWireGuard) -> int | None:
    with pytest.raises(OSError) as caught:
        wireguard.read()
    return caught.value.errno


def test_the_family_is_asked_for_and_then_used(monkeypatch: pytest.MonkeyPatch) -> None:
    wireguard, fake = scripted(monkeypatch, dump())
    assert wireguard.read().name == "wg0"
    assert [kind for kind, *_ in fake.requests] == [16, FAMILY]


def test_a_dump_that_changed_under_us_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    torn = dump(NLM_F_DUMP_INTR, bytes(4) + attribute(1, struct.pack("=I", 1)) + attribute(2, b"wg0\0"))
    wireguard, _ = scripted(monkeypatch, torn, dump())
    assert wireguard.read().index == 7


def test_a_dump_that_overflowed_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    wireguard, _ = scripted(monkeypatch, [OSError(errno.ENOBUFS, "")], dump())
    assert wireguard.read().index == 7


def test_a_dump_that_always_changes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    wireguard, _ = scripted(monkeypatch, *[dump(NLM_F_DUMP_INTR)] * nlsocket.DUMP_TRIES)
    assert refusal(wireguard) == errno.EAGAIN


def test_the_rest_of_an_abandoned_answer_is_not_taken_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    wireguard, fake = scripted(monkeypatch, dump())
    fresh = fake.recvfrom
    stale = message(NLMSG_DONE, 0, 999, DONE)
    answers = iter([stale])
    monkeypatch.setattr(fake, "recvfrom", lambda size: (next(answers, None) or fresh(size)[0], (0, 0)))
    assert wireguard.read().index == 7


def test_what_another_process_sends_is_not_the_kernels_word(monkeypatch: pytest.MonkeyPatch) -> None:
    wireguard, fake = scripted(monkeypatch, dump())
    fresh = fake.recvfrom
    forged = [(message(NLMSG_ERROR, 0, 2, struct.pack("=i", -19)), (4711, 0))]
    monkeypatch.setattr(fake, "recvfrom", lambda size: forged.pop() if forged else fresh(size))
    assert wireguard.read().index == 7


def test_a_kernel_that_says_nothing_does_not_hold_us(monkeypatch: pytest.MonkeyPatch) -> None:
    wireguard, _ = scripted(monkeypatch, [])
    assert refusal(wireguard) == errno.ETIMEDOUT


@pytest.mark.parametrize("code", [errno.ENODEV, errno.EOPNOTSUPP, errno.ENOENT])
def test_gone_has_one_errno_whatever_the_kernel_calls_it(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    wireguard, _ = scripted(monkeypatch, error(code))
    assert refusal(wireguard) == errno.ENODEV


def test_an_error_at_the_end_of_a_dump_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    wireguard, _ = scripted(monkeypatch, [[(FAMILY, 0, DEVICE)], [(NLMSG_DONE, 0, struct.pack("=i", -12))]])
    assert refusal(wireguard) == errno.ENOMEM


def test_no_permission_stays_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    wireguard, _ = scripted(monkeypatch, error(errno.EPERM))
    with pytest.raises(PermissionError):
        wireguard.read()


def test_a_malformed_answer_is_an_oserror(monkeypatch: pytest.MonkeyPatch) -> None:
    wireguard, _ = scripted(monkeypatch, dump(device=DEVICE + b"\xff"))
    assert refusal(wireguard) == errno.EBADMSG


def test_readding_is_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    wireguard, fake = scripted(monkeypatch, [[(NLMSG_ERROR, 0, ACK)]])
    wireguard.readd(Peer(Key(bytes(32))))
    assert len(fake.requests) == 2, "the family, and one more"


def test_a_scope_by_name_becomes_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    wireguard, fake = scripted(monkeypatch, [[(NLMSG_ERROR, 0, ACK)]])
    monkeypatch.setattr("socket.if_nametoindex", {"eth0": 258}.__getitem__)
    wireguard.update(Key(bytes(32)), endpoint=Endpoint(IPv6Address("fe80::1%eth0"), 5))
    assert IPv6Address("fe80::1").packed + struct.pack("=I", 258) in fake.requests[-1][3]


def test_a_scope_that_is_no_interface_is_not_mistaken_for_our_interface_being_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wireguard, _ = scripted(monkeypatch)
    with pytest.raises(OSError) as caught:
        wireguard.update(Key(bytes(32)), endpoint=Endpoint(IPv6Address("fe80::1%no-such"), 5))
    assert caught.value.errno == errno.EADDRNOTAVAIL


# The real kernel, as far as it needs neither WireGuard nor privilege.


def test_rtnetlink_answers() -> None:
    link = NetlinkSocket(socket.NETLINK_ROUTE)
    payloads = link.dump(18, bytes(16))
    link.close()
    indexes = {struct.unpack_from("=i", payload, 4)[0] for payload in payloads}
    assert socket.if_nametoindex("lo") in indexes


def test_an_interface_that_is_missing_is_not_there_yet() -> None:
    for name in ("no-such", "", "far-too-long-for-an-interface", "../lo"):
        with pytest.raises(OSError) as caught:
            interface_kind(name)
        assert caught.value.errno == errno.ENODEV


def test_an_interface_that_is_something_else_says_so() -> None:
    with pytest.raises(OSError) as caught:
        open_wireguard("lo")
    assert caught.value.errno == errno.ENOTSUP
    assert caught.value.strerror == "lo is not a WireGuard interface"
