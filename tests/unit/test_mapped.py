"""What the mesh makes of a port that a router opened, on the virtual clock."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import pairwise

import pytest

from tests.world import PORT, Node, World, build
from wgautomesh.candidates import Candidate, Candidates
from wgautomesh.messages import Kind, Records
from wgautomesh.values import Endpoint, Key

CHANGING = {
    "hub": ("44.128.1.1", "none"),
    "second": ("44.128.7.1", "none"),
    "a": ("44.128.2.1", "symmetric"),
    "b": ("44.128.3.1", "symmetric"),
}
OUTSIDE = Endpoint(ip_address("44.128.2.1"), 40000)
DELAYS = (0.0005, 0.025, 0.1)
ELSEWHERE = Key(b"e" * 32)


def apart(one_way: float, seed: int = 1) -> tuple[World, Node, Node]:
    """Two nodes that cannot meet, though all is up around them."""
    world = World(seed, one_way=one_way)
    build(world, CHANGING, preset=("hub", "second"))
    for node in world.nodes.values():
        node.start()
    return world, world.nodes["a"], world.nodes["b"]


def open_port(node: Node, *outside: Endpoint) -> None:
    """The node's router lets everybody in there, and nowhere else."""
    assert node.mesh
    node.site.opened = {each.port: Endpoint(node.lan_ip, PORT) for each in outside}
    node.apply(node.mesh.mapped(outside, node.world.now))


@pytest.mark.parametrize("tried", [0.5, 3.0, 20.0, 57.0, 300.0])
@pytest.mark.parametrize("one_way", DELAYS)
@pytest.mark.parametrize("seed", range(4))
def test_an_opened_port_joins_a_pair_whatever_was_tried_before(
    seed: int, one_way: float, tried: float
) -> None:
    world, a, b = apart(one_way, seed)
    world.run(tried)
    assert not world.connected("a", "b")
    opener = (a, b)[seed % 2]  # the one with the lower key, or the other
    open_port(opener, Endpoint(opener.site.public, 40000))
    took = world.run(20, until=lambda: world.connected("a", "b"))
    assert took <= 1.0 + 8 * one_way


@pytest.mark.parametrize("one_way", DELAYS)
@pytest.mark.parametrize("closed", [30.0, 60.0, 200.0])
def test_a_port_that_was_closed_and_is_opened_again_joins_the_pair_again(
    one_way: float, closed: float
) -> None:
    world, a, _ = apart(one_way)
    open_port(a, OUTSIDE)
    world.run(20, until=lambda: world.connected("a", "b"))
    world.run(30)
    a.site.replace(a.site.nat)
    open_port(a)
    world.run(closed)
    assert not world.connected("a", "b")
    open_port(a, OUTSIDE)
    took = world.run(60, until=lambda: world.connected("a", "b"))
    assert took <= 1.5 + 8 * one_way


def test_nobody_says_that_both_nats_change_ports_where_one_was_opened() -> None:
    world, a, b = apart(0.025)
    open_port(a, OUTSIDE)
    world.dropped |= {("a", "b"), ("b", "a")}
    world.run(60)
    for node in (a, b):
        complaints = [
            text for _, text in node.said if "not reached" in text and ("a (" in text or "b (" in text)
        ]
        assert complaints
        assert not any("NATs change ports" in text or "map or fix a port" in text for text in complaints)


def test_a_member_whose_port_is_open_is_not_met_with_silence() -> None:
    world, a, b = apart(0.025)
    world.run(5)
    open_port(a, OUTSIDE)
    world.dropped |= {("a", "b"), ("b", "a")}
    world.run(200)
    shots = [when for when, key in b.readds if key == a.key]
    pauses = [after - before for before, after in pairwise(shots)]
    assert max(pauses) < 38


def test_a_mapping_that_stays_is_announced_once() -> None:
    world, a, _ = apart(0.025)
    open_port(a, OUTSIDE)
    world.run(60)
    begin = world.now
    for _ in range(20):
        open_port(a, OUTSIDE)
        world.run(5)
    news = [each for when, _, each in a.sent if when > begin and isinstance(each, Records)]
    assert len(news) < 10


def candidate(kind: Kind, *, answered: bool = False, confirmed: float = 1.0) -> Candidate:
    return Candidate(OUTSIDE, kind, confirmed, ELSEWHERE, answered=answered)


def test_a_withdrawn_mapping_is_forgotten_and_news_when_it_comes_back() -> None:
    candidates = Candidates()
    assert candidates.offer(candidate(Kind.MAPPED))
    candidates.withdraw([OUTSIDE])
    assert not candidates.offer(candidate(Kind.MAPPED))
    candidates.withdraw([])
    assert not len(candidates)
    assert candidates.offer(candidate(Kind.MAPPED))


def test_where_a_member_once_answered_stays_known_without_the_mapping() -> None:
    candidates = Candidates()
    candidates.offer(candidate(Kind.MAPPED))
    candidates.confirm(OUTSIDE, 2.0)
    candidates.withdraw([])
    (kept,) = candidates
    assert kept.kind is Kind.OBSERVED
    assert candidates.offer(candidate(Kind.MAPPED))
    assert next(iter(candidates)).kind is Kind.MAPPED
