"""A day of virtual time in which something breaks every few minutes: `make test-day`."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest

from tests.world import World, build
from wgautomesh.candidates import MAX_CANDIDATES

DAY = 24 * 3600.0  # s
LONGEST_FAULT = 120.0  # s
PAUSE = 600.0  # s, at most, between two faults
HEALED = 90.0  # s after a fault until the mesh is whole: a shot's longest pause is 30 s, a NAT's silence 40 s
PLAN = {
    "hub": ("44.128.1.1", "none"),
    "a": ("44.128.2.1", "preserving"),
    "b": ("44.128.3.1", "preserving"),
    "c": ("44.128.4.1", "none"),
}


@pytest.mark.parametrize("seed", [1])
def test_a_day_of_faults_ends_in_a_whole_mesh_each_time(seed: int) -> None:
    world = World(seed, one_way=0.025, loss=0.01, trace=False)
    nodes = build(world, PLAN, preset=("hub",))
    for node in nodes.values():
        node.start()
    assert world.run(60, until=world.connected) < 60
    end, moved, faults, slowest = world.now + DAY, 0, 0, 0.0
    while world.now < end:
        world.run(world.rng.uniform(0, PAUSE))
        name, other = world.rng.sample(sorted(nodes), 2)
        lasts = world.rng.uniform(0, LONGEST_FAULT)
        faults += 1
        match world.rng.randrange(4):
            case 0:  # the way between two is cut in one direction
                world.dropped.add((name, other))
                world.run(lasts)
                world.dropped.clear()
            case 1:  # a node is cut off from all
                world.dropped |= {pair for each in nodes for pair in ((name, each), (each, name))}
                world.run(lasts)
                world.dropped.clear()
            case 2:  # an agent stops, its interface with it, and comes back
                nodes[name].stop(forget=True)
                world.run(lasts)
                nodes[name].start()
            case 3:  # a provider gives another address to whoever has no preset one
                moved += 1
                site = nodes["a" if name in ("hub", "c") else name].site
                site.move(IPv4Address(int(ip_address("44.129.0.0")) + moved))
        took = world.run(HEALED, until=world.connected)
        assert took < HEALED, f"not whole {HEALED:.0f} s after fault {faults}"
        slowest = max(slowest, took)
    for node in nodes.values():
        assert node.mesh
        assert set(node.mesh.gossip.book) <= {each.key for each in nodes.values()}
        assert all(len(link.candidates) <= MAX_CANDIDATES for link in node.mesh.links.values())
    print(f"seed {seed}: {faults} faults, {world.events:,} events, slowest recovery {slowest:.1f} s")
