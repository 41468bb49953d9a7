"""Agents on busy machines, on the virtual clock: what they read of the device is old when they act on it.

A handshake that gets through between the look and the shot is undone, and the other side does not know.
"""

from __future__ import annotations

from functools import partial
from ipaddress import ip_address

import pytest

from tests.world import PORT, World, build
from wgautomesh.values import Endpoint

from .test_mapped import open_port

DELAYS = (0.0005, 0.025, 0.1)
BUSY = (0.005, 0.03)  # s that an agent takes for an event, at most
SEEDS = range(12)
HUB = {"hub": ("44.128.1.1", "none")}
NEIGHBOURS = {**HUB, "a": ("44.128.2.1", "preserving"), "b": ("44.128.2.1", "preserving")}
STRANGERS = {**HUB, "a": ("44.128.2.1", "preserving"), "b": ("44.128.3.1", "preserving")}
CHANGING = {**HUB, "a": ("44.128.2.1", "symmetric"), "b": ("44.128.3.1", "symmetric")}

OPEN = {**HUB, "a": ("44.128.2.1", "none"), "b": ("44.128.3.1", "symmetric")}

busy_machines = pytest.mark.parametrize("busy", BUSY)
delays = pytest.mark.parametrize("one_way", DELAYS)


def begin(plan: dict[str, tuple[str, str]], seed: int, one_way: float, busy: float) -> World:
    world = World(seed, one_way=one_way, busy=busy)
    build(world, plan)
    for node in world.nodes.values():
        node.start()
    return world


def meet(world: World) -> float:
    """Seconds that the pair takes once both have their link to the hub."""
    world.run(10, until=lambda: world.connected("hub", "a") and world.connected("hub", "b"))
    return world.run(20, until=lambda: world.connected("a", "b"))


@busy_machines
@delays
def test_a_pair_meets_though_a_shot_undid_its_handshake(one_way: float, busy: float) -> None:
    for plan in (NEIGHBOURS, STRANGERS):
        took = [meet(begin(plan, seed, one_way, busy)) for seed in SEEDS]
        assert max(took) <= 1.0 + 6 * one_way + 10 * busy


@busy_machines
@delays
def test_who_is_open_leaves_the_shots_to_a_changing_nat(one_way: float, busy: float) -> None:
    """Its own would but undo the other's handshake. In one of ten it shoots before it heard of the NAT."""
    took = sorted(meet(begin(OPEN, seed, one_way, busy)) for seed in range(30))
    assert took[-4] <= 0.2 + 6 * one_way + 10 * busy
    assert took[-1] <= 3.0


@busy_machines
@delays
def test_who_alone_can_be_reached_leaves_the_first_shots_to_the_other(one_way: float, busy: float) -> None:
    took = []
    for seed in SEEDS:
        world = begin(CHANGING, seed, one_way, busy)
        a = world.nodes["a"]
        world.run(10, until=partial(world.connected, "hub", "a"))
        open_port(a, Endpoint(ip_address(a.site.public), PORT))
        took.append(meet(world))
    assert max(took) <= 1.0 + 6 * one_way + 10 * busy


def test_what_came_by_a_session_that_a_shot_undid_connects_nobody() -> None:
    for seed in SEEDS:
        world = begin(NEIGHBOURS, seed, 0.025, 0.03)
        for _ in range(1000):
            world.run(0.001)
            for one, other in (("a", "b"), ("b", "a")):
                node, peer = world.nodes[one], world.nodes[other]
                if any(text.startswith(f"{other} ") and "connected" in text for _, text in node.said):
                    assert node.peers[peer.key].handshake
