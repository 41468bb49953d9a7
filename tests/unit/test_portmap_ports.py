"""The shell of port mapping on the loopback interface: a router of a few lines, floods, and the way out."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address
from types import SimpleNamespace

import pytest

from wgautomesh.portmap import door, ports, sockets
from wgautomesh.portmap.ports import Ports, places
from wgautomesh.portmap.sockets import DATAGRAMS, Place, Sockets
from wgautomesh.values import Endpoint
from wgautomesh.watch import Gateway, Interface, decode_gateways

from .test_portmap_lease import Router

LO = Place(ip_address("127.0.0.1"), ip_address("127.0.0.1"), socket.if_nametoindex("lo"))
KEY = bytes(range(32))


def interface(index: int, *addresses: str, kind: str | None = None, up: bool = True) -> Interface:
    found = tuple(IPv4Interface(each) if "." in each else IPv6Interface(each) for each in addresses)
    return Interface(index, f"eth{index}", kind, up, up, up, found)


# -- where ----------------------------------------------------------------------------------------------


def test_a_place_is_our_address_in_the_routers_network() -> None:
    known = {2: interface(2, "10.9.9.9/24", "192.168.2.10/24", "fe80::1/64", "fd00::5/64", "2a0e:44::a/64")}
    gateways = {4: Gateway(IPv4Address("192.168.2.1"), 2), 6: Gateway(IPv6Address("fe80::ff"), 2)}
    assert places(gateways, known) == {
        4: Place(IPv4Address("192.168.2.1"), IPv4Address("192.168.2.10"), 2),
        6: Place(IPv6Address("fe80::ff"), IPv6Address("2a0e:44::a"), 2),
    }


@pytest.mark.parametrize(
    "other",
    [
        interface(2, "192.168.2.10/24", up=False),
        interface(2, "192.168.2.10/24", kind="wireguard"),
        interface(2),
        interface(3, "192.168.2.10/24"),
    ],
    ids=["no carrier", "a tunnel", "no address", "gone"],
)
def test_without_a_way_to_a_router_there_is_no_place(other: Interface) -> None:
    assert places({4: Gateway(IPv4Address("192.168.2.1"), 2)}, {other.index: other}) == {}


def test_an_ipv6_address_that_means_nothing_elsewhere_needs_no_pinhole() -> None:
    known = {2: interface(2, "fd00::5/64", "fe80::1/64")}
    assert places({6: Gateway(IPv6Address("fe80::ff"), 2)}, known) == {}


def route(gateway: str | None, index: int | None, metric: int | None) -> object:
    attributes = {"RTA_GATEWAY": gateway, "RTA_OIF": index, "RTA_PRIORITY": metric}
    return SimpleNamespace(get_attr=attributes.get)


def test_the_gateway_is_that_of_the_best_default_route() -> None:
    routes = [
        route("10.0.0.1", 3, 600),
        route("192.168.2.1", 2, 100),
        route("192.168.9.1", 4, 100),
        route(None, 5, None),
        route("fe80::1", 2, 1024),
    ]
    assert decode_gateways(routes) == {
        4: Gateway(IPv4Address("192.168.2.1"), 2),
        6: Gateway(IPv6Address("fe80::1"), 2),
    }


# -- sockets ------------------------------------------------------------------------------------------


class Loop:
    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()

    def until(
        self, happened: Callable[[], object], tick: Callable[[float], None], within: float = 5.0
    ) -> None:
        end = time.monotonic() + within
        while not happened() and time.monotonic() < end:
            for key, _ in self.selector.select(0.02):
                key.data(time.monotonic())
            tick(time.monotonic())
        assert happened()


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The router's socket, on a port of this test."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        monkeypatch.setattr(sockets, "SERVER_PORT", sock.getsockname()[1])
        for name in ("CLIENT_PORT", "SSDP_PORT"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("", 0))
                monkeypatch.setattr(sockets, name, probe.getsockname()[1])
        yield sock


def nothing(data: bytes, now: float) -> None:
    raise AssertionError


def test_only_the_router_is_heard(router: socket.socket) -> None:
    loop, heard = Loop(), list[bytes]()
    toward = Sockets(loop.selector, LO, lambda data, _: heard.append(data), nothing, nothing)
    toward.send(b"question")
    _, us = router.recvfrom(100)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"lie", us)
    router.sendto(b"answer", us)
    loop.until(lambda: heard, toward.tick)
    assert heard == [b"answer"]
    toward.close()
    assert not loop.selector.get_map()


@pytest.mark.long
def test_a_flood_is_listened_to_for_a_hundred_datagrams_a_second(router: socket.socket) -> None:
    loop, heard = Loop(), list[float]()
    toward = Sockets(loop.selector, LO, lambda _, now: heard.append(now), nothing, nothing)
    toward.send(b"question")
    _, us = router.recvfrom(100)
    stop = threading.Event()

    def flood() -> None:
        while not stop.wait(0.001):
            for _ in range(20):
                router.sendto(b"x", us)

    thread = threading.Thread(target=flood)
    thread.start()
    begin = time.monotonic()
    loop.until(lambda: time.monotonic() - begin > 2.5, toward.tick)
    stop.set()
    thread.join()
    assert DATAGRAMS <= len(heard) <= 3 * (DATAGRAMS + sockets.BATCH)
    assert heard[-1] - heard[0] > 1  # it is listened to again
    toward.close()
    assert not loop.selector.get_map()


def test_no_way_to_the_router_leaves_nothing_behind() -> None:
    loop = Loop()
    nowhere = Place(ip_address("198.51.100.1"), ip_address("198.51.100.2"), 1)
    with pytest.raises(OSError, match=r"."):
        Sockets(loop.selector, nowhere, nothing, nothing, nothing)
    assert not loop.selector.get_map()


# -- all of it ----------------------------------------------------------------------------------------


class Served:
    """The model of a router, answering on a real socket; and `Ports` of a node before it."""

    def __init__(self, sock: socket.socket) -> None:
        self.model, self.sock = Router(), sock
        self.loop = Loop()
        self.opened: list[tuple[Endpoint, ...]] = []
        self.ports = Ports(self.loop.selector, lambda endpoints, _: self.opened.append(endpoints))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                asked, client = self.sock.recvfrom(2000)
                answer = self.model.hear(asked, time.monotonic())
                if answer:
                    self.sock.sendto(answer, client)
            except OSError:
                return

    def until(self, happened: Callable[[], object]) -> None:
        self.loop.until(happened, self.ports.turn)


@pytest.fixture
def served(router: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(ports, "places", lambda gateways, _: {4: LO} if gateways else {})
    monkeypatch.setattr("wgautomesh.portmap.helper.PROGRAM", "this")  # prints a poem: no answer at all
    node = Served(router)
    yield node
    node.ports.close(time.monotonic())
    assert not node.loop.selector.get_map()


def here(node: Served) -> None:
    node.ports.network({4: Gateway(IPv4Address("127.0.0.1"), 1)}, {}, time.monotonic())


EXPECTED = (Endpoint(IPv4Address("44.128.2.1"), 51820),)


def test_a_mapping_is_asked_for_when_wish_place_and_identity_are_known(served: Served) -> None:
    here(served)
    served.ports.wish(0, time.monotonic())
    assert not served.model.asked
    served.ports.identify(KEY, 51820, time.monotonic())
    served.until(lambda: served.opened)
    assert served.opened == [EXPECTED]
    assert served.ports.state() == "44.128.2.1:51820 leads here, by PCP"


def test_without_a_wish_nobody_is_asked(served: Served) -> None:
    served.ports.identify(KEY, 51820, time.monotonic())
    here(served)
    assert served.ports.next_due() == float("inf")
    assert served.ports.state() is None


def test_what_changes_releases_and_asks_anew(served: Served) -> None:
    served.ports.wish(0, time.monotonic())
    served.ports.identify(KEY, 51820, time.monotonic())
    here(served)
    served.until(lambda: served.opened == [EXPECTED])
    served.ports.identify(KEY, 51820, time.monotonic())
    here(served)
    assert len(served.opened) == 1  # nothing changed
    served.ports.wish(40000, time.monotonic())
    moved = (Endpoint(IPv4Address("44.128.2.1"), 40000),)
    served.until(lambda: served.opened == [EXPECTED, (), moved])
    assert list(served.model.mapped) == [40000]
    served.ports.network({}, {}, time.monotonic())
    served.until(lambda: not served.model.mapped)
    assert served.opened[-1] == ()
    here(served)
    served.until(lambda: served.opened[-1] == moved)
    served.ports.wish(None, time.monotonic())
    served.until(lambda: not served.model.mapped)


def test_closing_releases(served: Served) -> None:
    served.ports.wish(0, time.monotonic())
    served.ports.identify(KEY, 51820, time.monotonic())
    here(served)
    served.until(lambda: served.model.mapped)
    served.ports.close(time.monotonic())
    served.until(lambda: not served.model.mapped)


def test_a_second_nat_is_told(served: Served) -> None:
    served.model.ip = IPv4Address("100.64.1.1")
    served.ports.wish(0, time.monotonic())
    served.ports.identify(KEY, 51820, time.monotonic())
    here(served)
    served.until(lambda: served.ports.behind_two_nats)
    assert served.opened == [()]
    assert "100.64.1.1 is not public" in (served.ports.state() or "")


@pytest.mark.long
def test_lines_about_trouble_are_few_whatever_a_router_finds_to_say(
    served: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wgautomesh.portmap.lease.BACKOFF", (0.01,))
    served.model.refuses = 2
    served.ports.wish(0, time.monotonic())
    served.ports.identify(KEY, 51820, time.monotonic())
    here(served)
    for code in range(2, 14):
        served.model.refuses = code
        asked = len(served.model.asked)
        served.until(lambda asked=asked: len(served.model.asked) > asked + 3)  # type: ignore[misc]
    assert len(caplog.records) == 1
    assert door.COMPLAIN_EVERY >= 60
