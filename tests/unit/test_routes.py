"""Which routes there should be, and the bytes they are asked for in."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network

import pytest

from wgautomesh.routes.plan import PROTOCOL, Route, plan, wanted
from wgautomesh.routes.table import decode, encode
from wgautomesh.values import Device, IPNetwork, Key, Peer

A, B, STRANGER = (Key(letter * 32) for letter in (b"a", b"b", b"x"))
WG, LAN = 7, 2
ADDRESSES = {
    WG: (ip_interface("10.14.0.9/16"), ip_interface("fd14::9/64")),
    LAN: (ip_interface("192.168.1.9/24"),),
    1: (ip_interface("127.0.0.1/8"),),
}


def nets(*texts: str) -> tuple[IPNetwork, ...]:
    return tuple(ip_network(each) for each in texts)


def wanted_for(*allowed: str, defaults: bool = False) -> set[IPNetwork]:
    device = Device("wg0", WG, peers={A: Peer(A, allowed_ips=nets(*allowed))})
    return set(wanted(device, [A, B], ADDRESSES, defaults=defaults))


def test_only_what_lies_beyond_all_our_networks_gets_a_route() -> None:
    assert wanted_for("10.14.0.1/32", "fd14::1/128", "10.2.0.1/32", "fd15::1/128", "10.99.0.0/24") == {
        *nets("10.2.0.1/32", "fd15::1/128", "10.99.0.0/24")
    }


def test_what_is_on_link_elsewhere_is_reached_directly() -> None:
    assert wanted_for("192.168.1.7/32", "192.168.1.0/24") == set()
    assert wanted_for("192.168.0.0/16") == {*nets("192.168.0.0/16")}


def test_a_default_route_only_if_asked() -> None:
    whole = ("0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1")
    assert wanted_for(*whole) == set()
    assert wanted_for(*whole, defaults=True) == {*nets(*whole)}


def test_peers_that_are_no_members_get_none() -> None:
    device = Device("wg0", WG, peers={STRANGER: Peer(STRANGER, allowed_ips=nets("10.2.0.1/32"))})
    assert not wanted(device, [A, B], ADDRESSES, defaults=False)


def test_only_our_own_routes_are_removed_and_nobody_elses_is_doubled() -> None:
    one, two, three = nets("10.2.0.1/32", "10.2.0.2/32", "10.2.0.3/32")
    ours = Route(one, WG, PROTOCOL)
    others = [
        Route(two, WG, 4),  # somebody's, into the same interface
        Route(three, LAN, PROTOCOL),  # another agent's
    ]
    assert plan([one], [ours, *others], WG) == ([], [])
    assert plan([], [ours, *others], WG) == ([], [one])
    assert plan([one, two, three], others, WG) == ([one], [])


@pytest.mark.parametrize("text", ["10.2.0.1/32", "10.99.0.0/24", "fd15::/64", "0.0.0.0/0"])
def test_routes_in_bytes(text: str) -> None:
    network = ip_network(text)
    assert list(decode([encode(network, WG)])) == [Route(network, WG, PROTOCOL)]


def test_what_is_no_route_of_the_main_table_is_passed_over_or_refused() -> None:
    raw = encode(ip_network("10.2.0.1/32"), WG)
    local = raw[:4] + bytes([255]) + raw[5:]  # RT_TABLE_LOCAL
    assert list(decode([local])) == []
    for bad in (b"", raw[:5], raw[:1] + bytes([99]) + raw[2:]):
        with pytest.raises(ValueError):
            list(decode([bad]))
