"""Moving live links to the LAN and off it again, on the virtual clock. `one_way` is of the Internet path."""

from __future__ import annotations

import pytest

from tests.simulator.cable import Cable
from tests.unit.test_scenarios import DELAYS, TWO_NATS, formed, heard
from tests.world import Node, World
from wgautomesh.link import State
from wgautomesh.move import PAUSE
from wgautomesh.values import Endpoint

PUBLIC = {name: (public, "none") for name, (public, _) in TWO_NATS.items()}
LEFT = 3.0  # s in which a LAN that went silent is left


def on_cable(cable: Cable, *nodes: Node) -> bool:
    """Whether these two use each other's address on the cable."""
    one, other = nodes
    return one.endpoint(other) == Endpoint(cable.ip(other), other.port) and other.endpoint(one) == Endpoint(
        cable.ip(one), one.port
    )


def pair(world: World) -> tuple[Node, Node]:
    return world.nodes["a"], world.nodes["b"]


def readds(*nodes: Node, since: float) -> int:
    return sum(when > since for node in nodes for when, _ in node.readds)


@pytest.mark.parametrize("rate", [1, 10, 100, 500])
@pytest.mark.parametrize("one_way", DELAYS)
def test_a_live_link_moves_to_the_lan_and_loses_nothing(one_way: float, rate: float) -> None:
    world = formed(one_way)
    a, b = pair(world)
    there, back = a.ping(b, rate, 4), b.ping(a, rate, 4)
    began = world.now
    world.run(1)
    cable = Cable(world, "a", "b")
    assert world.run(3, until=lambda: bool(heard(a, "moved to the LAN") and heard(b, "moved to the LAN"))) < 3
    world.run(5)
    assert on_cable(cable, a, b) and world.connected("a", "b")
    assert a.pongs == there and b.pongs == back
    assert not readds(a, b, since=began)


@pytest.mark.parametrize("rate", [1, 10, 100, 500])
def test_on_a_very_slow_path_one_round_trip_of_traffic_is_lost_at_most(rate: float) -> None:
    world = formed(0.3)
    a, b = pair(world)
    there, back = a.ping(b, rate, 4), b.ping(a, rate, 4)
    began = world.now
    world.run(1)
    cable = Cable(world, "a", "b")
    world.run(8)
    assert on_cable(cable, a, b) and world.connected("a", "b")
    assert max(len(there - a.pongs), len(back - b.pongs)) <= 0.6 * rate
    assert readds(a, b, since=began) <= 1


@pytest.mark.parametrize("rate", [1, 100])
@pytest.mark.parametrize("mover", ["a", "b"])
def test_one_side_alone_can_move_the_link(mover: str, rate: float) -> None:
    world = formed(0.1)
    a, b = pair(world)
    there, back = a.ping(b, rate, 4), b.ping(a, rate, 4)
    cable = Cable(world, "a", "b")
    other = b if mover == "a" else a
    other.is_deaf = True
    world.run(8)
    assert on_cable(cable, a, b)
    assert a.pongs == there and b.pongs == back


def test_further_beacons_move_nothing() -> None:
    world = formed()
    a, b = pair(world)
    cable = Cable(world, "a", "b")
    world.run(30)
    marks = len(a.changes), len(b.changes)
    for _ in range(5):
        cable.beacons()
        world.run(60)
    assert (len(a.changes), len(b.changes)) == marks
    assert on_cable(cable, a, b)


@pytest.mark.long
def test_a_lan_without_wireguard_is_left_at_once_and_tried_ever_more_seldom() -> None:
    world = formed(0.025)
    a, b = pair(world)
    cable = Cable(world, "a", "b")
    cable.wireguard = False
    world.run(2)
    assert heard(a, "its WireGuard does not answer there")
    assert world.connected("a", "b") and not on_cable(cable, a, b)
    for _ in range(60):
        cable.beacons()
        world.run(60)
    assert world.connected("a", "b")
    tried = len(heard(a, "its WireGuard does not answer there"))
    assert 2 <= tried <= 7
    cable.wireguard = True
    for _ in range(int(PAUSE[1] / 60)):
        world.run(60)
        cable.beacons()
    world.run(2)
    assert on_cable(cable, a, b)


@pytest.mark.parametrize("plan", [PUBLIC, TWO_NATS], ids=["public", "behind-nats"])
@pytest.mark.parametrize("after", [5.0, 300.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_lan_that_goes_silent_is_left(plan: dict[str, tuple[str, str]], after: float, seed: int) -> None:
    world = formed(0.025, seed, plan)
    a, b = pair(world)
    cable = Cable(world, "a", "b")
    world.run(after)
    assert on_cable(cable, a, b)
    began = world.now
    cable.up = False
    took = world.run(
        20,
        until=lambda: world.connected("a", "b") and not on_cable(cable, a, b) and not on_cable(cable, b, a),
    )
    assert took <= LEFT
    world.run(10)
    assert world.connected("a", "b")
    assert not readds(a, b, since=began)


@pytest.mark.parametrize("seed", range(3))
def test_who_is_unplugged_leaves_at_once(seed: int) -> None:
    world = formed(0.025, seed)
    a, b = pair(world)
    cable = Cable(world, "a", "b")
    world.run(100)
    assert on_cable(cable, a, b)
    cable.unplug(a)
    there = a.ping(b, 10, 10)
    world.run(15)
    assert world.connected("a", "b")
    assert a.endpoint(b) == Endpoint(b.site.public, b.port)
    assert len(there - a.pongs) <= 20


def test_plugged_in_again_it_moves_again() -> None:
    world = formed(0.025)
    a, b = pair(world)
    for _ in range(3):
        cable = Cable(world, "a", "b")
        world.run(10)
        assert on_cable(cable, a, b)
        cable.unplug(a)
        world.run(10)
        assert world.connected("a", "b") and not a.cables
        cable.unplug(b)


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("one_way", DELAYS)
@pytest.mark.parametrize("seed", range(5))
def test_unplugged_and_plugged_in_again_it_is_used_again_and_nothing_is_lost(
    seed: int, one_way: float, *, one_sided: bool
) -> None:
    """The other side sees no carrier go: what it measured on the LAN says nothing of the path it uses now."""
    world = formed(one_way, seed)
    a, b = pair(world)
    cable = Cable(world, "a", "b")
    world.run(8)
    for _ in range(3):
        ip = cable.unplug(a)
        world.run(world.rng.uniform(2, 4))
        there, back = a.ping(b, 10, 5), b.ping(a, 10, 5)
        world.run(1)
        a.is_deaf = one_sided
        cable.plug(a, ip)
        world.run(3)
        assert on_cable(cable, a, b)
        world.run(2)
        assert a.pongs >= there and b.pongs >= back


@pytest.mark.parametrize("rate", [20, 50, 200])
@pytest.mark.parametrize("one_way", [0.3, 0.7])
def test_when_the_old_path_is_slower_than_known_at_most_the_lower_key_gives_up_the_session_once(
    one_way: float, rate: float
) -> None:
    world = formed(0.05)
    a, b = pair(world)
    world.one_way = one_way  # as when a queue fills: what is under way comes after all seems done
    began = world.now
    there, back = a.ping(b, rate, 5), b.ping(a, rate, 5)
    world.run(0.5)
    cable = Cable(world, "a", "b")
    for _ in range(4):
        cable.beacons()
        world.run(2)
    world.run(5)
    assert on_cable(cable, a, b) and world.connected("a", "b")
    low, high = sorted((a, b), key=lambda node: node.key)
    given_up = readds(low, since=began)
    assert given_up <= 1 and not readds(high, since=began)
    assert max(len(there - a.pongs), len(back - b.pongs)) <= given_up * rate * 2 * one_way


def test_what_others_say_of_the_lan_moves_nothing() -> None:
    world = formed()
    a, b = pair(world)
    began = world.now
    cable = Cable(world, "a", "b")  # their records now name the addresses on the cable
    for node in (a, b):
        node.is_deaf = True
    world.run(60)
    assert not on_cable(cable, a, b) and not [
        each for each in a.changes if each[0] > began + 1 and each[1] == b.key
    ]


def test_a_silent_link_comes_back_by_the_lan() -> None:
    world = formed()
    a, b = pair(world)
    world.dropped |= {("a", "b"), ("b", "a")}
    world.run(200)
    assert a.state(b) is not State.CONNECTED
    world.dropped.clear()
    b.site.move(b.site.public + 99)  # and no path but the LAN
    world.nodes["hub"].stop(forget=True)
    cable = Cable(world, "a", "b")
    assert world.run(20, until=lambda: world.connected("a", "b")) <= 2.0
    assert on_cable(cable, a, b)
