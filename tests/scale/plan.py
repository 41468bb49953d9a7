"""Large simulated meshes: who is where, behind what, and which pairs can meet at all."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, ip_network

from tests.simulator.node import Node
from tests.simulator.wire import Site, World
from wgautomesh.link import UP
from wgautomesh.values import Endpoint, Key, Member

PORT = 51820
HUBS = 3  # members that have a configured endpoint, in a mesh of any size
NATS = ("none", "preserving", "preserving", "preserving", "none", "preserving", "preserving", "symmetric")
HOUSE = 10  # of so many nodes two live behind one router
MESH = ip_network("10.14.0.0/16")
FIRST = int(IPv4Address("44.0.0.1"))


def plan(world: World, count: int, beside: Sequence[Node] = ()) -> list[Node]:
    """Nodes that know each other's keys and nothing else, but for the hubs' endpoints; none is started.

    Those `beside` are there already, and are not told of the new ones.
    """
    nodes: list[Node] = []
    for number in range(len(beside), len(beside) + count):
        open_to_all = number < HUBS
        shares = number % HOUSE == HOUSE - 1
        public = IPv4Address(FIRST + 256 * (number - shares))
        nat = (
            "none"
            if open_to_all
            else "preserving"
            if number % HOUSE >= HOUSE - 2
            else NATS[number % len(NATS)]
        )
        endpoints = (Endpoint(public, PORT),) if open_to_all else ()
        member = Member(Key(world.rng.randbytes(32)), MESH[number + 1], endpoints, f"n{number}")
        site = world.sites.get(public) or Site(world, public, nat)
        world.sites[public] = site
        lan = public if nat == "none" else IPv4Address("192.168.1.10") + len(site.nodes)
        node = Node(world, f"n{number}", site, lan, member, PORT + len(site.nodes))
        world.nodes[node.name] = node
        nodes.append(node)
    members = tuple(node.member for node in (*beside, *nodes))
    for node in nodes:
        node.members = members
    return nodes


def can_meet(one: Node, other: Node) -> bool:
    """Whether any packet of one can open the other's router: not where ports cannot be foretold."""
    kinds = {one.site.nat, other.site.nat}
    return one.site is other.site or "symmetric" not in kinds or "none" in kinds


def meetings(nodes: list[Node]) -> int:
    """How many links there are at both ends together once all that can meet have met."""
    return sum(can_meet(one, other) for one in nodes for other in nodes if one is not other)


def links_up(nodes: list[Node]) -> int:
    return sum(node.mesh.common.roll.count(*UP) for node in nodes if node.mesh)
