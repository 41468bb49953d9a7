"""What the interfaces of a machine mean to us. The messages are made and read by pyroute2."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_interface
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from wgautomesh import watch as module
from wgautomesh.watch import Interface, Watch, decode

UP, BROADCAST, LOOPBACK, POINT_TO_POINT, NO_ARP, CARRIER = 0x1, 0x2, 0x8, 0x10, 0x80, 0x10000
ETHERNET = UP | CARRIER | BROADCAST


def over_the_wire(kind: Any, fields: dict[str, object]) -> Any:
    """The message as it is after encoding and decoding: what pyroute2 hands out."""
    written = kind()
    written.update(fields)
    written.encode()
    read = kind(written.data)
    read.decode()
    return read


def link(
    index: int, kind: str | None = None, flags: int = ETHERNET, master: int | None = None, name: str = "eth0"
) -> Any:
    attrs: list[tuple[str, object]] = [("IFLA_IFNAME", name)]
    if master is not None:
        attrs.append(("IFLA_MASTER", master))
    if kind is not None:
        attrs.append(("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", kind)]}))
    return over_the_wire(ifinfmsg, {"index": index, "flags": flags, "attrs": attrs})


def address(index: int, local: str, prefix: int, flags: int = 0x80, **attributes: str) -> Any:
    # The header has room for 8 of the flags only.
    attrs: list[tuple[str, object]] = [("IFA_FLAGS", flags), *attributes.items()]
    if "IFA_ADDRESS" not in attributes:
        attrs.append(("IFA_ADDRESS", local))
    if ":" not in local:
        attrs.append(("IFA_LOCAL", local))
    family = socket.AF_INET6 if ":" in local else socket.AF_INET
    fields = {"family": family, "index": index, "prefixlen": prefix, "flags": flags & 0xFF, "attrs": attrs}
    return over_the_wire(ifaddrmsg, fields)


def only(*links: Any) -> Interface:
    """The interface with index 1 among the given ones."""
    return decode(links, [])[1]


@pytest.mark.parametrize("kind", [None, "veth", "vlan", "macvlan", "ipvlan", "bond", "team"])
def test_networks_with_neighbours_are_lans(kind: str | None) -> None:
    assert only(link(1, kind)).lan


@pytest.mark.parametrize(
    "kind", ["wireguard", "tun", "dummy", "sit", "gre", "vxlan", "bridge", "ifb", "vrf", "future"]
)
def test_tunnels_and_inner_networks_are_not(kind: str) -> None:
    assert not only(link(1, kind)).lan


@pytest.mark.parametrize(
    "flags",
    [
        ETHERNET & ~UP,
        ETHERNET & ~CARRIER,
        ETHERNET & ~BROADCAST,
        ETHERNET | LOOPBACK,
        ETHERNET | POINT_TO_POINT,
        ETHERNET | NO_ARP,
    ],
)
def test_without_broadcast_or_carrier_it_is_no_lan(flags: int) -> None:
    assert not only(link(1, flags=flags)).lan


def test_the_port_of_a_bridge_is_no_lan_but_the_bridge_is() -> None:
    assert not only(link(1, master=2), link(2, "bridge")).lan
    assert only(link(1, "bridge"), link(2, master=1)).lan


def test_a_bridge_of_containers_is_no_lan() -> None:
    assert not only(link(1, "bridge"), link(2, "veth", master=1), link(3)).lan


@pytest.mark.parametrize(("flags", "up"), [(UP | CARRIER, True), (UP, False), (CARRIER, False), (0, False)])
def test_up_takes_both_the_switch_and_the_carrier(flags: int, up: bool) -> None:
    assert only(link(1, flags=flags)).up is up


def test_an_interface_comes_with_its_own_addresses() -> None:
    found = decode(
        [link(1, name="lan0"), link(2, "wireguard", name="wg0")],
        [
            address(1, "192.0.2.1", 24, IFA_BROADCAST="192.0.2.200"),
            address(1, "fe80::1", 64),
            address(2, "10.0.0.1", 32),
        ],
    )
    assert (found[1].name, found[1].kind, found[2].name, found[2].kind) == ("lan0", None, "wg0", "wireguard")
    assert found[1].addresses == (ip_interface("192.0.2.1/24"), ip_interface("fe80::1%1/64"))
    assert found[1].broadcasts == (IPv4Address("192.0.2.200"),)
    assert found[2].addresses == (ip_interface("10.0.0.1/32"),)
    assert found[2].broadcasts == ()


def test_a_broadcast_address_needs_not_be_configured() -> None:
    found = decode([link(1)], [address(1, "192.0.2.1", 24), address(1, "198.51.100.0", 31)])
    assert found[1].broadcasts == (IPv4Address("192.0.2.255"),)


def test_on_a_link_to_one_peer_the_local_address_is_ours() -> None:
    found = decode([link(1)], [address(1, "10.0.0.1", 32, IFA_ADDRESS="10.0.0.2")])
    assert found[1].addresses == (ip_interface("10.0.0.1/32"),)


def test_addresses_that_are_not_ours_yet_or_ever_are_left_out() -> None:
    tentative, failed, temporary, deprecated = 0x40 | 0x80, 0x08 | 0x80, 0x01, 0x20
    found = decode(
        [link(1)],
        [
            address(1, "fd00::1", 64, tentative),
            address(1, "fd00::2", 64, failed),
            address(1, "fd00::3", 64, temporary | 0x100),
            address(1, "fd00::4", 64, deprecated),
        ],
    )
    assert found[1].addresses == (ip_interface("fd00::3/64"), ip_interface("fd00::4/64"))


def test_an_address_of_an_interface_that_just_vanished_is_ignored() -> None:
    assert list(decode([link(1)], [address(9, "192.0.2.1", 24)])) == [1]


# The real kernel.


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.close()


def test_the_loopback_interface_is_seen(watch: Watch) -> None:
    lo = watch.interfaces()[socket.if_nametoindex("lo")]
    assert (lo.name, lo.kind, lo.lan) == ("lo", None, False)


class Notifications:
    """Stands in for the notification socket."""

    def __init__(self, *outcomes: bytes | OSError) -> None:
        self.outcomes = list(outcomes)

    def recv(self, size: int) -> bytes:
        outcome = self.outcomes.pop(0) if self.outcomes else BlockingIOError(errno.EAGAIN, "")
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    def close(self) -> None:
        pass


def notified(watch: Watch, monkeypatch: pytest.MonkeyPatch, *outcomes: bytes | OSError) -> Notifications:
    watch.close()
    fake = Notifications(*outcomes)
    monkeypatch.setattr(watch, "_socket", fake)
    return fake


def test_every_notification_is_a_change_once(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    notified(watch, monkeypatch, b"x", b"x")
    assert watch.drain()
    assert not watch.drain()


def test_lost_notifications_are_a_change(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    notified(watch, monkeypatch, OSError(errno.ENOBUFS, ""))
    assert watch.drain()


def test_a_broken_socket_is_an_error(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    notified(watch, monkeypatch, OSError(errno.EBADF, ""))
    with pytest.raises(OSError):
        watch.drain()


def test_a_storm_of_notifications_is_taken_in_helpings(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = notified(watch, monkeypatch, *[b"x"] * (module.MESSAGES_AT_ONCE + 5))
    assert watch.drain()
    assert len(fake.outcomes) == 5
