"""Nodes find each other: the demo's mesh, and a pair behind two NATs at the delays of the real Internet."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from . import topology
from .conftest import Measured
from .lab import Lab
from .topology import Topology

LabOf = Callable[[Topology], Lab]


def test_the_demos_five_nodes_become_a_whole_mesh(lab_of: LabOf, measured: Measured) -> None:
    lab = lab_of(topology.demo())
    lab.configure()
    lab.start()
    measured("five nodes, from simultaneous start", lab.until_meshed(within=20), bound=3)
    lab.check_pings()
    paths = {(one.name, other.name): lab.path(one, other) for one, other in lab.pairs()}
    assert paths.pop(("carol", "dave")) == "LAN"
    assert set(paths.values()) == {"direct"}


@pytest.mark.parametrize("delay", [0.0, 0.025, 0.1])
@pytest.mark.parametrize("accept_input", [False, True], ids=["drops-inbound", "accepts-inbound"])
def test_two_nats_meet_within_a_second_of_their_hub_links(
    lab_of: LabOf, measured: Measured, delay: float, accept_input: bool
) -> None:
    lab = lab_of(topology.pair(delay=delay, accept_input=accept_input))
    alice, bob, hub = lab["alice"], lab["bob"], lab["hub"]
    lab.configure()
    lab.start()
    lab.until_meshed(within=20)
    lab.check_pings()
    assert lab.path(alice, bob) == "direct"
    linked = max(link.at for one, other in ((alice, hub), (bob, hub)) for link in one.changes(other)[:1])
    met = max(link.at for one, other in ((alice, bob), (bob, alice)) for link in one.changes(other)[:1])
    bound = 1.0 if delay < 0.1 else 1.0 + 6 * delay
    measured(f"pair behind two NATs, {delay * 1000:.0f} ms one way", met - linked, bound=bound)
