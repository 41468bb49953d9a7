"""Ports that routers open: by miniupnpd, in every way it knows, and with its moods."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Measured
from .gateway import Gateway
from .lab import Lab
from .node import Node
from .topology import Host, Maps, Nat, Router, Topology

LabOf = Callable[[Topology], Lab]

WAYS = [Maps.ALL, Maps.PCP, Maps.UPNP]
every_way = pytest.mark.parametrize("maps", WAYS, ids=["all", "nat-pmp-and-pcp", "upnp"])


def apart(maps: Maps | None, delay: float = 0.025) -> Topology:
    """Two routers that give every destination a port of its own. Only the one before alice opens any."""
    return Topology(
        (
            Host("hub"),
            Router("north", (Host("alice"),), Nat.SYMMETRIC, maps=maps),
            Router("south", (Host("bob"),), Nat.SYMMETRIC),
        ),
        delay=delay,
    )


def gateway(lab: Lab, router: str = "north") -> Gateway:
    found = lab.net.boxes[router].gateway
    assert found
    return found


def inner(node: Node) -> str:
    return f"{node.box.address()}:{node.wg.port}"


@every_way
def test_two_changing_nats_meet_through_a_mapping(lab_of: LabOf, measured: Measured, maps: Maps) -> None:
    lab = lab_of(apart(maps))
    lab.configure()
    lab.start()
    alice, bob, opens = lab["alice"], lab["bob"], gateway(lab)
    lab.until(
        lambda: inner(alice) in opens.forwarded().values(), within=5, what="the mapping", between=(alice,)
    )
    took = lab.until_connected(alice, bob, within=10)
    measured("through the mapping, after it exists", took, bound=3)
    lab.check_pings()
