"""What the simulator foretells is what the lab measures: its WireGuard and NATs are like real ones.

Both run the same core; the lab with real processes, which wait for a processor now and then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from tests.unit.test_scenarios import TWO_NATS, formed, start
from tests.world import World, build
from wgautomesh.link import State
from wgautomesh.values import Endpoint

from .conftest import Measured
from .lab import Lab
from .test_nasty import healed, meshed, since_hub, until_noticed
from .topology import Topology, pair

LabOf = Callable[[Topology], Lab]
SEEDS = range(20)  # what is random: the moment within a probe's interval, and who speaks first
EARLIER = 0.2  # s by which the lab may be before the fastest simulation
LATER = 0.6  # s, and after the slowest
BUSY = 0.01  # s that an event takes an agent beside others, at most: a shot may then undo a handshake


def compare(measured: Measured, what: str, took: float, foretold: list[float]) -> None:
    measured(f"{what}, foretold at most {max(foretold):.2f}", took, bound=max(foretold) + LATER)
    assert took >= min(foretold) - EARLIER


# Where one of two shots waits 25 ms for a processor, the pair meets by the other at once: not foretold.
@pytest.mark.alone
@pytest.mark.parametrize("delay", [0.025, 0.1], ids=["25ms", "100ms"])
def test_two_nats(lab_of: LabOf, measured: Measured, delay: float) -> None:
    def foretold(seed: int) -> float:
        world = World(seed, one_way=delay)
        build(world, TWO_NATS)
        start(world)
        world.run(20, until=lambda: world.connected("hub", "a") and world.connected("hub", "b"))
        return world.run(20, until=lambda: world.connected("a", "b"))

    lab = lab_of(pair(delay=delay))
    lab.configure(preset=["hub"])
    lab.start()
    took = since_hub(lab, lab["alice"], lab["bob"])
    compare(measured, "pair after both hub links", took, [foretold(seed) for seed in SEEDS])


def test_a_routers_new_address(lab_of: LabOf, measured: Measured) -> None:
    moved = ip_address("44.128.2.77")

    def foretold(seed: int) -> float:
        world = formed(0.025, seed)
        world.busy = BUSY * (seed % 2)
        a, b = world.nodes["a"], world.nodes["b"]
        world.run(world.rng.uniform(0, 10))
        a.site.move(moved)
        return world.run(60, until=lambda: b.endpoint(a) == Endpoint(moved, 51820) and world.connected())

    lab = meshed(lab_of(pair(delay=0.025)))
    lab.net.renumber("north")
    alice, bob = lab["alice"], lab["bob"]
    took = lab.until(healed(lab, alice, bob), within=40, what="the pair is back", between=(alice, bob))
    compare(measured, "after a router's new address", took, [foretold(seed) for seed in SEEDS])


def test_a_dead_path(lab_of: LabOf, measured: Measured) -> None:
    def foretold(seed: int) -> float:
        world = formed(0.025, seed)
        a, b = world.nodes["a"], world.nodes["b"]
        world.run(world.rng.uniform(0, 10))
        world.dropped |= {("a", "b"), ("b", "a")}
        down = (State.SILENT, State.TRYING)
        return world.run(60, until=lambda: a.state(b) in down and b.state(a) in down)

    lab = meshed(lab_of(pair(delay=0.025)))
    alice, bob = lab["alice"], lab["bob"]
    time.sleep(5)
    lab.net.cut("alice", "bob")
    took = until_noticed(lab, alice, bob)
    compare(measured, "dead path noticed by both", took, [foretold(seed) for seed in SEEDS])
