"""On which devices LAN discovery looks for members."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_interface

import pytest

from wgautomesh.lan import is_wanted
from wgautomesh.lansocket import LanSocket
from wgautomesh.watch import Interface

MESH = "wg0"


def device(name: str, *, neighbours: bool = True, lan: bool = True, up: bool = True) -> Interface:
    return Interface(1, name, None, up=up, neighbours=neighbours, lan=lan)


ETHERNET = device("eth0")
CONTAINERS = device("br-1f2e", lan=False)
TUNNEL = device("tun0", neighbours=False, lan=False)
ALL = (ETHERNET, CONTAINERS, TUNNEL)


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        (None, [ETHERNET]),
        ((), []),
        (("br-*",), [CONTAINERS]),
        (("eth0", "br-*"), [ETHERNET, CONTAINERS]),
        (("eth?",), [ETHERNET]),
        (("*",), [ETHERNET, CONTAINERS]),
        (("tun*",), []),
        (("tun0",), [TUNNEL]),
        (("ETH0",), []),
    ],
)
def test_names_and_patterns_choose_devices(patterns: tuple[str, ...] | None, wanted: list[Interface]) -> None:
    assert [each for each in ALL if is_wanted(each, patterns, MESH)] == wanted


@pytest.mark.parametrize("patterns", [None, ("*",), ("wg0",), ("wg*",)])
def test_the_mesh_itself_is_never_chosen(patterns: tuple[str, ...] | None) -> None:
    assert not is_wanted(device(MESH), patterns, MESH)


@pytest.mark.parametrize("patterns", [None, ("eth0",)])
def test_a_device_that_is_down_is_not_chosen(patterns: tuple[str, ...] | None) -> None:
    assert not is_wanted(device("eth0", up=False), patterns, MESH)


@pytest.mark.parametrize(
    ("addresses", "broadcasts", "versions"),
    [
        ((), (), set()),
        (("192.0.2.1/24",), ("192.0.2.255",), {4}),
        (("192.0.2.1/31",), (), set()),
        (("fe80::1%1/64",), (), {6}),
        (("2001:db8::1/64",), (), set()),
        (("192.0.2.1/24", "fe80::1%1/64"), ("192.0.2.255",), {4, 6}),
    ],
)
def test_each_ip_version_needs_an_address_to_speak_from(
    addresses: tuple[str, ...], broadcasts: tuple[str, ...], versions: set[int]
) -> None:
    mine = tuple(ip_interface(each) for each in addresses)
    there = tuple(IPv4Address(each) for each in broadcasts)
    assert LanSocket.versions(Interface(1, "eth0", None, True, True, True, mine, there)) == versions
