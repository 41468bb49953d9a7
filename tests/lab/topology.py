"""Topologies as data: who stands where, behind which routers. Nothing here touches the system.

    Topology((Host("hub"), Router("r1", (Host("alice"),)), Router("r2", (Host("bob"),), nat=Nat.SYMMETRIC)))

The trunk is "the internet": a router without private addresses. Everything else hangs below it, as deep as
wished.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, Flag, auto
from ipaddress import IPv4Network, IPv6Network

MESH = IPv4Network("10.77.0.0/16")
WIREGUARD_PORT = 51820


class Nat(Enum):
    """How a router rewrites IPv4 sources. IPv6 is never rewritten, only filtered."""

    NONE = ""
    PRESERVING = "masquerade"  # keeps the inner port where it is free, one mapping for all destinations
    SYMMETRIC = "masquerade fully-random"  # another port for each destination


class Versions(Flag):
    """Which IP versions the internet and the LANs have addresses of. NONE: link-local IPv6 only."""

    NONE = 0
    V4 = auto()
    V6 = auto()
    DUAL = V4 | V6


@dataclass(frozen=True, slots=True)
class Host:
    """A machine with a WireGuard interface and an agent. `firewall`: accepts only what it asked for."""

    name: str
    firewall: bool = False
    port: int = WIREGUARD_PORT


class Maps(Flag):
    """How a router opens ports for its LAN. PCP is NAT-PMP, too: miniupnpd has one switch for both."""

    UPNP = auto()
    PCP = auto()
    ALL = UPNP | PCP


@dataclass(frozen=True, slots=True)
class Router:
    """A router and its LAN. A router behind a router is carrier-grade NAT.

    `accept_input`: unsolicited packets to its own address reach INPUT (plain Linux masquerade), so that
    connection tracking keeps an entry for them; otherwise they are dropped before that.
    """

    name: str
    behind: tuple[Host | Router, ...]
    nat: Nat = Nat.PRESERVING
    accept_input: bool = False
    firewall: bool = True  # forwards inwards only what belongs to a flow from inside
    lan: IPv4Network | None = None  # None: one of its own
    maps: Maps | None = None  # opens ports on request
    unreplied: int = 30  # s a NAT entry lives before and
    stream: int = 120  # after packets went both ways


@dataclass(frozen=True, slots=True)
class Topology:
    trunk: tuple[Host | Router, ...]
    versions: Versions = Versions.V4
    mesh: IPv4Network | IPv6Network = MESH
    delay: float = 0.0  # s, one way, between any two that hang on the trunk

    def hosts(self) -> list[Host]:
        return [each for each in _walk(self.trunk) if isinstance(each, Host)]


def _walk(stands: tuple[Host | Router, ...]) -> Iterator[Host | Router]:
    for each in stands:
        yield each
        if isinstance(each, Router):
            yield from _walk(each.behind)


def demo(delay: float = 0.0, *, maps: Maps | None = None) -> Topology:
    """A public hub, two nodes behind two NATs, and two more that share a LAN behind a third.

    With `maps`, the second NAT gives every destination a port of its own, and opens one on request.
    """
    south = Router("south", (Host("bob"),), Nat.SYMMETRIC if maps else Nat.PRESERVING, maps=maps)
    return Topology(
        (
            Host("hub"),
            Router("north", (Host("alice"),)),
            south,
            Router("home", (Host("carol"), Host("dave"))),
        ),
        delay=delay,
    )


def pair(
    nat: Nat = Nat.PRESERVING, other: Nat | None = None, *, delay: float = 0.0, accept_input: bool = False
) -> Topology:
    """A public hub and two nodes, each behind a router of its own."""
    return Topology(
        (
            Host("hub"),
            Router("north", (Host("alice"),), nat, accept_input),
            Router("south", (Host("bob"),), other or nat, accept_input),
        ),
        delay=delay,
    )
