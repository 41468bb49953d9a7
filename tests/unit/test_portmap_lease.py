"""The lease of a mapping on a virtual clock, against a router that does as it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgautomesh.portmap import natpmp, pcp
from wgautomesh.portmap.actions import (
    Action,
    Complaint,
    Datagram,
    EndUpnp,
    Opened,
    Trouble,
    Upnp,
    UpnpAnswer,
    Way,
    Wish,
)
from wgautomesh.portmap.lease import CHECK_EVERY, LIFETIME, Lease
from wgautomesh.values import Endpoint, IPAddress

PUBLIC = IPv4Address("44.128.2.1")
ROUTER, OURS = IPv4Address("192.168.2.1"), Endpoint(IPv4Address("192.168.2.10"), 51820)
OURS6 = Endpoint(IPv6Address("2a0e:44::a"), 51820)
NONCE = b"twelve bytes"
TRIP = 0.01  # s there and back


@dataclass
class Router:
    """Answers by what it speaks. `mapped`: its external ports, with the s until they are closed."""

    speaks: frozenset[Way] = frozenset(Way)
    ip: IPAddress = PUBLIC
    booted: float = 0.0
    lifetime: int = LIFETIME
    taken: frozenset[int] = frozenset()
    upnp_taken_by: str = "192.168.2.7"
    forever_only: bool = False
    refuses: int = 0  # the result code, if not 0
    mapped: dict[int, float] = field(default_factory=dict)
    asked: list[tuple[float, str, int]] = field(default_factory=list)  # when, what, lifetime

    def reboot(self, now: float) -> None:
        self.booted = now
        self.mapped.clear()

    def hear(self, data: bytes, now: float) -> bytes | None:
        epoch = int(now - self.booted).to_bytes(4, "big")
        if data[0] == pcp.VERSION:
            if Way.PCP not in self.speaks:
                return bytes([0, 128 | data[1], 0, 1]) + epoch if Way.NAT_PMP in self.speaks else None
            return self._pcp(data, epoch, now)
        if Way.NAT_PMP not in self.speaks:
            return None
        if data == natpmp.ASK_ADDRESS:
            self.asked.append((now, "address", 0))
            return bytes([0, 128]) + self.refuses.to_bytes(2, "big") + epoch + self.ip.packed
        port, wanted = (int.from_bytes(data[at : at + 2], "big") for at in (4, 6))
        lifetime = int.from_bytes(data[8:12], "big")
        given = self._map(wanted, lifetime, "nat-pmp", now)
        body = port.to_bytes(2, "big") + given.to_bytes(2, "big") + self._granted(lifetime)
        return bytes([0, 129]) + self.refuses.to_bytes(2, "big") + epoch + body

    def announcement(self, now: float) -> bytes:
        epoch = int(now - self.booted).to_bytes(4, "big")
        if Way.PCP in self.speaks:
            return bytes([2, 128, 0, 0]) + bytes(4) + epoch + bytes(12)
        return bytes([0, 128, 0, 0]) + epoch + self.ip.packed

    def upnp(self, errand: Upnp, now: float) -> UpnpAnswer:
        if Way.UPNP not in self.speaks:
            return UpnpAnswer(trouble=Trouble.SILENT, error="no answer")
        port = errand.port or 51820
        if errand.release:
            self.mapped.pop(port, None)
            return UpnpAnswer()
        if port in self.taken:
            return UpnpAnswer(trouble=Trouble.TAKEN, error=self.upnp_taken_by)
        made = port not in self.mapped
        lifetime = 0 if self.forever_only else LIFETIME
        self.asked.append((now, "upnp", lifetime))
        self.mapped[port] = now + lifetime if lifetime else float("inf")
        return UpnpAnswer(self.ip, port, lifetime, made, "http://192.168.2.1/description")

    def _pcp(self, data: bytes, epoch: bytes, now: float) -> bytes:
        lifetime = int.from_bytes(data[4:8], "big")
        head = bytes([2, 128 | data[1], 0, self.refuses])
        if data[1] == 0:
            self.asked.append((now, "epoch", 0))
            return head + bytes(4) + epoch + bytes(12)
        given = self._map(int.from_bytes(data[42:44], "big"), lifetime, "pcp", now)
        wide = self.ip.packed if self.ip.version == 6 else b"\0" * 10 + b"\xff\xff" + self.ip.packed
        mapping = data[24:42] + given.to_bytes(2, "big") + wide
        return head + self._granted(lifetime) + epoch + bytes(12) + mapping

    def _map(self, wanted: int, lifetime: int, how: str, now: float) -> int:
        self.asked.append((now, how, lifetime))
        if lifetime == 0:
            self.mapped.clear()
            return 0
        given = wanted + 1 if wanted in self.taken else wanted
        if not self.refuses:
            self.mapped[given] = now + self.lifetime
        return given

    def _granted(self, lifetime: int) -> bytes:
        return (min(self.lifetime, lifetime)).to_bytes(4, "big")


class Play:
    """A lease and a router on one clock."""

    def __init__(self, router: Router, *, port: int = 51820, internal: Endpoint = OURS) -> None:
        self.router = router
        self.now = 1000.0
        self.said: list[tuple[float, Action]] = []
        self.reachable = True  # the router
        self.errand: tuple[float, Upnp] | None = None
        self.lease = Lease(Wish(ROUTER, internal, port, NONCE), Random(1), self.now)
        self._answers: list[tuple[float, bytes]] = []
        self._act()

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            due = [self.lease.next_tick(), *(at for at, _ in self._answers)]
            if self.errand:
                due.append(self.errand[0])
            if min(due) > end:
                break
            self.now = max(self.now, min(due))
            arrived = [data for at, data in self._answers if at <= self.now]
            self._answers = [each for each in self._answers if each[0] > self.now]
            for data in arrived:
                self.lease.receive(data, self.now)
            if self.errand and self.errand[0] <= self.now:
                _, errand = self.errand
                self.errand = None
                if self.reachable:
                    self.lease.upnp(self.router.upnp(errand, self.now), self.now)
                else:
                    self.lease.upnp(UpnpAnswer(trouble=Trouble.SILENT, error="no answer"), self.now)
            self.lease.tick(self.now)
            self._act()
        self.now = end

    def announce(self) -> None:
        self.lease.announced(self.router.announcement(self.now), self.now)
        self._act()

    def stop(self) -> None:
        self.lease.stop()
        self._act()
        if self.errand:
            self.router.upnp(self.errand[1], self.now)

    def of(self, kind: type) -> list[Action]:
        return [each for _, each in self.said if isinstance(each, kind)]

    def way(self) -> Way | None:
        opened = [each for each in self.of(Opened) if isinstance(each, Opened)]
        return opened[-1].way if opened else None

    def complaints(self) -> list[Complaint]:
        return [each for each in self.of(Complaint) if isinstance(each, Complaint)]

    def _act(self) -> None:
        for action in self.lease.take():
            self.said.append((self.now, action))
            match action:
                case Datagram(data):
                    answer = self.router.hear(data, self.now) if self.reachable else None
                    if answer:
                        self._answers.append((self.now + TRIP, answer))
                case Upnp():
                    self.errand = self.now + 0.3, action
                case EndUpnp():
                    self.errand = None


def speaking(*ways: Way) -> Router:
    return Router(speaks=frozenset(ways))


@pytest.mark.parametrize("way", list(Way))
def test_each_way_alone_opens_the_port(way: Way) -> None:
    play = Play(speaking(way))
    play.run(1.0)
    assert play.lease.endpoint == Endpoint(PUBLIC, 51820)
    assert play.way() is way
    assert list(play.router.mapped) == [51820]


def test_all_are_asked_at_once_and_the_first_that_answers_keeps_it() -> None:
    play = Play(Router())
    assert [type(each) for _, each in play.said] == [Upnp]
    play.run(10.0)
    assert play.way() is Way.PCP
    assert [how for _, how, _ in play.router.asked] == ["pcp", "address"]
    assert isinstance(play.said[-2][1], EndUpnp | Opened)
    assert play.errand is None


def test_nat_pmp_maps_where_pcp_is_not_answered() -> None:
    play = Play(speaking(Way.NAT_PMP))
    play.run(0.1)
    assert play.way() is Way.NAT_PMP  # told at once that PCP is not spoken


@pytest.mark.parametrize("way", list(Way))
def test_a_lease_is_renewed_at_half_time_for_ever(way: Way) -> None:
    play = Play(speaking(way))
    play.run(10 * LIFETIME)
    assert play.router.mapped[51820] > play.now + LIFETIME / 2 - CHECK_EVERY - 1
    assert play.lease.endpoint == Endpoint(PUBLIC, 51820)
    assert len(play.of(Opened)) == 1
    kind = {Way.PCP: "pcp", Way.NAT_PMP: "nat-pmp", Way.UPNP: "upnp"}[way]
    times = [at for at, how, _ in play.router.asked if how == kind]
    if way is not Way.UPNP:  # its program looks itself whether half the time is over
        assert all(abs(b - a - LIFETIME / 2) < 1 for a, b in pairwise(times))


def test_a_router_that_gives_less_time_is_asked_sooner() -> None:
    play = Play(Router(lifetime=300, speaks=frozenset({Way.PCP})))
    play.run(3000)
    times = [at for at, how, _ in play.router.asked if how == "pcp"]
    assert 15 <= len(times) <= 25
    assert play.lease.endpoint


@pytest.mark.parametrize("way", [Way.PCP, Way.NAT_PMP])
def test_an_announcement_after_a_reboot_brings_the_mapping_back(way: Way) -> None:
    play = Play(speaking(way))
    play.run(500)
    play.router.reboot(play.now)
    play.announce()
    play.run(2.0)
    assert list(play.router.mapped) == [51820]
    events = [each.endpoint for each in play.of(Opened) if isinstance(each, Opened)]
    assert events == [Endpoint(PUBLIC, 51820), None, Endpoint(PUBLIC, 51820)]


@pytest.mark.parametrize("way", list(Way))
def test_without_an_announcement_a_reboot_is_noticed_within_a_minute(way: Way) -> None:
    play = Play(speaking(way))
    play.run(517)
    play.router.reboot(play.now)
    play.run(45.0)
    assert list(play.router.mapped) == [51820]
    assert play.lease.endpoint
    events = [each.endpoint for each in play.of(Opened) if isinstance(each, Opened)]
    assert events[-2:] == [None, Endpoint(PUBLIC, 51820)]


def test_an_announcement_of_a_router_that_lost_nothing_costs_nothing() -> None:
    play = Play(speaking(Way.PCP))
    play.run(500)
    before = len(play.router.asked)
    play.announce()
    play.run(1.5)
    assert len(play.router.asked) == before


def test_an_announcement_wakes_a_lease_that_rests() -> None:
    play = Play(speaking())
    play.run(700)
    assert play.lease.endpoint is None
    play.router.speaks = frozenset({Way.PCP})
    play.announce()
    play.run(2.0)
    assert play.lease.endpoint


def test_forged_announcements_cost_a_request_in_five_seconds() -> None:
    play = Play(speaking(Way.PCP))
    play.run(500)
    before = len(play.router.asked)
    for _ in range(600):
        forged = bytes([2, 128, 0, 0]) + bytes(4) + play.lease._rng.randbytes(4) + bytes(12)
        play.lease.announced(forged, play.now)
        play.run(0.1)
    assert len(play.router.asked) - before <= 60 / 5 + 4


@pytest.mark.parametrize("way", list(Way))
def test_stopping_releases(way: Way) -> None:
    play = Play(speaking(way))
    play.run(5.0)
    assert play.router.mapped
    play.stop()
    assert not play.router.mapped
    assert play.lease.endpoint is None
    assert play.lease.next_tick() == float("inf")


def test_stopping_before_the_answer_releases_too() -> None:
    play = Play(speaking(Way.PCP))
    play.run(0.001)
    assert play.router.mapped
    play.stop()
    assert not play.router.mapped


def test_stopping_while_the_upnp_program_runs_releases_what_it_may_have_made() -> None:
    play = Play(speaking(Way.UPNP))
    play.run(0.1)
    assert play.errand
    play.router.upnp(play.errand[1], play.now)  # the router has done it; nobody has heard yet
    assert play.router.mapped
    play.stop()
    assert not play.router.mapped


def test_a_router_that_knows_only_permanent_leases_is_looked_after() -> None:
    play = Play(Router(speaks=frozenset({Way.UPNP}), forever_only=True))
    play.run(5 * LIFETIME)
    assert play.lease.endpoint
    play.router.reboot(play.now)
    play.run(45.0)
    assert play.router.mapped
    play.stop()
    assert not play.router.mapped


@pytest.mark.parametrize("way", list(Way))
def test_a_taken_port_is_said_and_no_other_is_used(way: Way) -> None:
    play = Play(Router(speaks=frozenset({way}), taken=frozenset({51820})))
    play.run(30.0)
    assert play.lease.endpoint is None
    assert not play.router.mapped
    (complaint,) = set(play.complaints())
    assert complaint.trouble is Trouble.TAKEN
    assert "port 51820 of the router 192.168.2.1 is taken" in complaint.text
    if way is Way.UPNP:
        assert "by 192.168.2.7" in complaint.text


@pytest.mark.parametrize("way", [Way.PCP, Way.NAT_PMP])
def test_any_port_will_do_if_the_wish_is_zero(way: Way) -> None:
    play = Play(Router(speaks=frozenset({way}), taken=frozenset({51820})), port=0)
    play.run(30.0)
    assert play.lease.endpoint == Endpoint(PUBLIC, 51821)
    play.router.reboot(play.now)
    play.run(60.0)
    assert play.lease.endpoint == Endpoint(PUBLIC, 51821)  # others know this one


@pytest.mark.parametrize("ip", ["192.168.178.2", "100.64.3.4", "10.0.0.1", "192.0.0.4", "169.254.1.1"])
@pytest.mark.parametrize("way", list(Way))
def test_double_nat_is_reported_and_not_announced(way: Way, ip: str) -> None:
    play = Play(Router(speaks=frozenset({way}), ip=ip_address(ip)))
    play.run(60.0)
    assert play.lease.endpoint is None
    assert not play.of(Opened)
    assert {each.trouble for each in play.complaints()} == {Trouble.PRIVATE}
    assert ip in play.complaints()[0].text


def test_a_router_that_becomes_public_is_announced() -> None:
    play = Play(Router(speaks=frozenset({Way.PCP}), ip=IPv4Address("100.64.1.1")))
    play.run(60.0)
    play.router.ip = PUBLIC
    play.router.reboot(play.now)
    play.announce()
    play.run(2.0)
    assert play.lease.endpoint == Endpoint(PUBLIC, 51820)


def test_a_new_public_address_is_followed() -> None:
    play = Play(speaking(Way.NAT_PMP))
    play.run(60.0)
    play.router.ip = IPv4Address("44.128.9.9")
    play.announce()
    play.run(2.0)
    assert play.lease.endpoint == Endpoint(IPv4Address("44.128.9.9"), 51820)


def test_a_refusal_is_said_with_its_reason() -> None:
    play = Play(Router(speaks=frozenset({Way.PCP}), refuses=2))
    play.run(30.0)
    assert [each.text for each in play.complaints()] == [
        "the router 192.168.2.1 opens no port (PCP: not allowed; UPnP: no answer)"
    ]


def test_silence_is_said_and_met_with_growing_pauses() -> None:
    play = Play(speaking())
    play.run(4 * 3600)
    assert {each.trouble for each in play.complaints()} == {Trouble.SILENT}
    assert "UDP from 192.168.2.1" in play.complaints()[0].text
    datagrams = len(play.of(Datagram))
    assert datagrams / (4 * 3600) < 0.05
    play.run(3600)
    assert len(play.of(Datagram)) > datagrams  # the router may be replaced one day


def test_a_router_that_falls_silent_keeps_the_lease_until_it_ends() -> None:
    play = Play(speaking(Way.PCP))
    play.run(10.0)
    play.reachable = False
    play.run(LIFETIME - 100)
    assert play.lease.endpoint
    play.run(200)
    assert play.lease.endpoint is None
    play.reachable = True
    play.run(700)
    assert play.lease.endpoint


def test_after_a_suspension_the_router_is_asked_at_once() -> None:
    play = Play(speaking(Way.PCP))
    play.run(10.0)
    play.router.reboot(play.now)
    play.now += 5000
    play.lease.woke(play.now)
    play.run(1.0)
    assert play.router.mapped
    assert play.lease.endpoint


def test_an_ipv6_pinhole_is_asked_of_pcp_alone() -> None:
    play = Play(Router(ip=OURS6.ip), internal=OURS6)
    play.run(5.0)
    assert play.lease.endpoint == OURS6
    assert {how for _, how, _ in play.router.asked} == {"pcp"}
    assert not play.of(Upnp)


messages = st.one_of(
    st.binary(max_size=70),
    st.builds(
        lambda op, result, rest: bytes([2, 128 | op, 0, result]) + rest,
        st.integers(0, 2),
        st.integers(0, 14),
        st.binary(min_size=20, max_size=56),
    ),
    st.builds(
        lambda op, result, rest: bytes([0, 128 | op, 0, result]) + rest,
        st.integers(0, 2),
        st.integers(0, 6),
        st.binary(min_size=4, max_size=12),
    ),
    st.builds(
        lambda rest: bytes([2, 129, 0, 0]) + rest[:20] + NONCE + b"\x11\0\0\0" + rest[20:],
        st.binary(min_size=40, max_size=40),
    ),
)
upnp_answers = st.builds(
    UpnpAnswer,
    st.none() | st.ip_addresses(v=4),
    st.integers(1, 65535),
    st.integers(0, 2**40),
    st.booleans(),
    st.text(max_size=5),
    st.sampled_from(Trouble),
    st.text(max_size=5),
)


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["unicast", "announced", "upnp", "hint", "woke", "wait"]),
            messages,
            upnp_answers,
            st.floats(0, 2000),
        ),
        max_size=40,
    ),
    st.integers(0, 65535),
)
def test_whatever_a_router_says_costs_little_and_is_never_announced_if_private(
    events: list[tuple[str, bytes, UpnpAnswer, float]], port: int
) -> None:
    now = 1000.0
    lease = Lease(Wish(ROUTER, OURS, port, NONCE), Random(1), now)
    for what, data, answer, wait in events:
        before = now
        match what:
            case "unicast":
                lease.receive(data, now)
            case "announced":
                lease.announced(data, now)
            case "upnp":
                lease.upnp(answer, now)
            case "hint":
                lease.hint(now)
            case "woke":
                lease.woke(now)
        while lease.next_tick() <= before + wait:
            now = max(now, lease.next_tick())
            lease.tick(now)
            assert lease.next_tick() > now - 1e-9
        now = before + wait
        if lease.endpoint:
            assert lease.endpoint.ip.is_global
            assert lease.endpoint.ip.version == 4
            assert port in (0, lease.endpoint.port)
        assert len(lease.take()) <= 40 + wait / 2
