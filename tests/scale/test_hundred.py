"""A hundred nodes, behind all kinds of NAT, on a wire of 50 ms there and back that loses 1 %. Virtual time.

What must hold at every moment is checked in every step (`measure.Mesh.check`). The world follows from the
seed that is part of each test's name; another one is tried with SEED=… .
"""

from __future__ import annotations

import os
from ipaddress import ip_address

import pytest

from tests.simulator.node import Node
from wgautomesh.link import UP
from wgautomesh.messages import Record
from wgautomesh.values import Endpoint

from .measure import PROBES, Mesh, make_world, p99
from .plan import can_meet, plan
from .settled import settle

COUNT = 100
FORMED = 15.0  # s from the first agent's start until all who can meet have met
KNOWN = 1.5  # s until all know a new address
HEALED = 5.0  # s until all books are equal again
GOSSIP = 1000.0  # bytes/s a node, in a mesh of any size
SHOTS = 4.0  # a second and node, at members that cannot be reached

pytestmark = [pytest.mark.long, pytest.mark.parametrize("seed", [int(os.environ.get("SEED", "1"))])]


def prepared(seed: int, count: int = COUNT) -> Mesh:
    world = make_world(seed)
    return Mesh(world, plan(world, count))


def settled(seed: int) -> Mesh:
    mesh = prepared(seed)
    settle(mesh.world, mesh.nodes)
    mesh.run(10)
    return mesh


def places(mesh: Mesh) -> dict[tuple[str, str], object]:
    """Where all are reached."""
    return {
        (one, other): endpoint and foretold(mesh.world.nodes[other], endpoint)
        for (one, other), endpoint in mesh.endpoints().items()
    }


def known(mesh: Mesh) -> dict[str, set[object]]:
    """What everybody knows of each node."""
    return {
        node.name: {foretold(node, route.endpoint) for route in record_of(node, mesh.nodes[0]).routes}
        for node in mesh.nodes
    }


def foretold(node: Node, endpoint: Endpoint) -> object:
    """What is the same in every run: not the port that a router draws by lot."""
    return endpoint.ip if node.site.nat == "symmetric" else endpoint


def record_of(node: Node, reader: Node) -> Record:
    assert reader.mesh
    record = reader.mesh.gossip.book.get(node.key)
    assert record
    return record


def test_all_meet_and_arrive_where_a_settled_mesh_begins(seed: int) -> None:
    mesh = prepared(seed)
    mesh.start()
    assert mesh.run(FORMED, until=lambda: mesh.share_up > 0.998) is not None
    assert mesh.run(60, until=lambda: mesh.share_up == 1.0 and mesh.agrees) is not None
    mesh.run(10)
    assert mesh.share_up == 1.0
    assert mesh.agrees
    model = settled(seed)
    assert places(mesh) == places(model)
    assert known(mesh) == known(model)


def test_nothing_moves_while_nothing_happens_and_that_costs_little(seed: int) -> None:
    mesh = settled(seed)
    before = mesh.endpoints()
    costs = mesh.costs(40)
    assert costs.probes <= PROBES
    assert costs.gossip_bytes <= GOSSIP
    assert mesh.endpoints() == before
    assert mesh.share_up == 1.0


def test_members_that_cannot_meet_hardly_try_and_do_once_their_routers_let_them(seed: int) -> None:
    mesh = settled(seed)
    for node in mesh.nodes:
        node.readds.clear()
    mesh.run(40)
    assert max(len(node.readds) for node in mesh.nodes) <= SHOTS * 40
    free = next(node for node in mesh.nodes if node.site.nat == "symmetric")
    assert free.mesh
    free.site.replace("preserving")
    met = sum(can_meet(free, other) for other in mesh.nodes if other is not free)
    roll = free.mesh.common.roll
    assert met > 2 * roll.count(*UP)
    assert mesh.run(FORMED, until=lambda: roll.count(*UP) >= 0.75 * met) is not None
    assert mesh.run(60, until=lambda: roll.count(*UP) == met) is not None


def test_a_new_address_is_known_everywhere_at_once(seed: int) -> None:
    mesh = settled(seed)
    mover = mesh.nodes[50]
    took = mesh.change_address(mover, ip_address("45.1.2.3"))
    assert p99(took) <= KNOWN
    assert mesh.run(30, until=lambda: mesh.share_up == 1.0 and mesh.agrees) is not None


def test_ten_that_restart_are_back_soon(seed: int) -> None:
    mesh = settled(seed)
    again = mesh.nodes[5::10]
    for node in again:
        node.stop(forget=True)
    mesh.run(5)
    for node in again:
        node.start()
    assert mesh.run(FORMED, until=lambda: mesh.share_up > 0.998) is not None
    assert mesh.run(60, until=lambda: mesh.share_up == 1.0 and mesh.agrees) is not None


def test_members_that_are_added_find_all(seed: int) -> None:
    mesh = settled(seed)
    world, old = mesh.world, mesh.nodes
    mesh.nodes = old + plan(world, 5, beside=old)
    members = tuple(node.member for node in mesh.nodes)
    for node in mesh.nodes:
        node.members = members
    for node in old:
        world.at(world.now + world.rng.random(), node.do, lambda it: it.reconfigure(members, world.now))
    for node in mesh.nodes[len(old) :]:
        world.at(world.now + world.rng.random(), node.start)
    assert mesh.run(FORMED, until=lambda: mesh.share_up > 0.998) is not None
    assert mesh.run(60, until=lambda: mesh.share_up == 1.0 and mesh.agrees) is not None


def test_halves_that_were_apart_for_half_a_minute_agree_again(seed: int) -> None:
    """For ten minutes: `make bench-scale`."""
    mesh = settled(seed)
    mesh.split(30, lambda: mesh.nodes[50].site.move(ip_address("45.1.2.3")))
    assert not mesh.agrees
    assert mesh.run(HEALED, until=lambda: mesh.agrees, step=0.1) is not None
    assert mesh.run(60, until=lambda: mesh.share_up == 1.0) is not None
