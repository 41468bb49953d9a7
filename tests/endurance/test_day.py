"""Days of virtual time in which something breaks every few minutes. `make test-day` tells more."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from tests.world import Node, World, build
from wgautomesh.candidates import MAX_CANDIDATES

DAY = 24 * 3600.0  # s
LONGEST_FAULT = 120.0  # s
PAUSE = 600.0  # s, at most, between two faults
HEALED = 90.0  # s after a fault until the mesh is whole: a shot's longest pause is 30 s, a NAT's silence 40 s
LOSS, MUCH_LOSS = 0.01, 0.2  # of all packets, usually and for a time
FAULTS = (
    "one direction is cut",
    "a node is cut off from all",
    "an agent stops, and its interface with it",
    "a provider gives another address",
    "a router reboots",
    "a fifth of all packets is lost",
    "a machine sleeps, and its router forgets it",
    "an interface is made anew",
)
PLAN = {
    "hub": ("44.128.1.1", "none"),
    "a": ("44.128.2.1", "preserving"),
    "b": ("44.128.3.1", "preserving"),
    "c": ("44.128.4.1", "none"),
}


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_a_day_of_faults_ends_in_a_whole_mesh_each_time(seed: int) -> None:
    world = World(seed, one_way=0.025, loss=LOSS, trace=False)
    nodes = build(world, PLAN, preset=("hub",))
    for node in nodes.values():
        node.start()
    assert world.run(60, until=world.connected) < 60
    end, faults, slowest = world.now + DAY, 0, 0.0
    while world.now < end:
        world.run(world.rng.uniform(0, PAUSE))
        what = break_something(world, nodes, IPv4Address("44.129.0.0") + faults)
        faults += 1
        took = world.run(HEALED, until=world.connected)
        assert took < HEALED, f"not whole {HEALED:.0f} s after fault {faults}: {what}"
        slowest = max(slowest, took)
    for node in nodes.values():
        assert node.mesh
        assert set(node.mesh.gossip.book) <= {each.key for each in nodes.values()}
        assert all(len(link.candidates) <= MAX_CANDIDATES for link in node.mesh.links.values())
    print(f"seed {seed}: {faults} faults, {world.events:,} events, slowest recovery {slowest:.1f} s")


def break_something(world: World, nodes: dict[str, Node], unused: IPv4Address) -> str:
    """Until it is mended; what that was."""
    name, other = world.rng.sample(sorted(nodes), 2)
    node, lasts = nodes[name], world.rng.uniform(0, LONGEST_FAULT)
    from_all = {pair for each in nodes for pair in ((name, each), (each, name))}
    what = world.rng.choice(FAULTS)
    match what:
        case "one direction is cut":
            world.dropped.add((name, other))
            world.run(lasts)
        case "a node is cut off from all":
            world.dropped |= from_all
            world.run(lasts)
        case "an agent stops, and its interface with it":
            node.stop(forget=True)
            world.run(lasts)
            node.start()
        case "a provider gives another address":  # to whoever has no preset one
            nodes["a" if name in ("hub", "c") else name].site.move(unused)
        case "a router reboots":
            node.site.replace(node.site.nat)
        case "a fifth of all packets is lost":
            world.loss = MUCH_LOSS
            world.run(lasts)
            world.loss = LOSS
        case "a machine sleeps, and its router forgets it":
            world.dropped |= from_all
            with node.asleep():
                world.run(lasts)
            node.site.replace(node.site.nat)
        case "an interface is made anew":
            node.peers.clear()
            node.do(lambda mesh: mesh.gone(world.now))
            world.run(lasts / 10)
            node._look()
    world.dropped.clear()
    return f"{what} ({name})"
