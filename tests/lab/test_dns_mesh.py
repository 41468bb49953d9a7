"""A mesh described in DNS, on a real name server with two zones that change while agents run."""

from __future__ import annotations

import time
from collections.abc import Callable

from .conftest import Measured
from .lab import Lab
from .nameserver import ADDRESS, TTL, NameServer, named, node_records
from .topology import Host, Router, Topology

LabOf = Callable[[Topology], Lab]
MESH = "_p2p.example.com"
ONE, OTHER = "example.com", "friends.example.net"

FOUR = Topology(
    (
        Host("hub"),
        Router("north", (Host("alice"),)),
        Router("south", (Host("bob"),)),
        Router("west", (Host("carol"),)),
    ),
    delay=0.01,
)


def described(lab: Lab) -> NameServer:
    """Hub and alice in one zone, bob in another: all members but carol. Every node asks the name server."""
    server = NameServer(lab.net.trunk, lab.folder)
    hub, alice, bob, carol = (lab[name] for name in ("hub", "alice", "bob", "carol"))
    server.zones = {
        ONE: [
            *named(MESH, [f"hub.{ONE}", f"alice.{ONE}", f"bob.{OTHER}"]),
            *node_records(hub, f"hub.{ONE}", public=True),
            *node_records(alice, f"alice.{ONE}"),
        ],
        OTHER: [*node_records(bob, f"bob.{OTHER}"), *node_records(carol, f"carol.{OTHER}")],
    }
    server.start()
    for node in lab.nodes.values():
        node.configure((), dns_mesh=MESH, resolver=ADDRESS)
    return server


def test_the_zone_alone_makes_the_mesh_and_changes_it(lab_of: LabOf, measured: Measured) -> None:
    lab = lab_of(FOUR)
    server = described(lab)
    others = [lab[name] for name in ("hub", "alice", "bob")]
    lab.start("hub", "alice", "bob")
    measured(
        "three nodes in two zones are a mesh", lab.until_meshed("hub", "alice", "bob", within=10), bound=5
    )
    lab.check_pings("hub", "alice", "bob")
    carol = lab["carol"]
    assert all(carol.key not in node.wg.peers() for node in others)

    one = server.zones[ONE]
    assert one
    one += named(MESH, [carol.alias])
    server.publish()
    begin = time.monotonic()
    carol.start()
    lab.until_meshed(within=TTL + 10)
    measured("a fourth, added to the zone, is meshed by all", time.monotonic() - begin, bound=TTL + 2)
    lab.check_pings()

    one.remove(*named(MESH, [carol.alias]))
    server.publish()
    took = lab.until(
        lambda: all(carol.key not in node.wg.peers() for node in others),
        within=2 * TTL + 5,
        what="carol is gone from all",
    )
    measured("a member removed from the zone is gone from all", took, bound=2 * TTL)
    lab.check_pings("hub", "alice", "bob")
