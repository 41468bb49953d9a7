"""Small worlds on a virtual clock: many nodes run the real core over a model of WireGuard, NATs and wires.

The lab (tests/lab) shows the same on real parts; this shows it in milliseconds, and the same for every seed.
The model itself lives in tests/simulator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network

from wgautomesh.values import Endpoint, Key, Member

from .simulator.node import Node
from .simulator.wire import Site, World

__all__ = ["PORT", "Node", "Site", "World", "build"]

PORT = 51820


def build(
    world: World, plan: Mapping[str, tuple[str, str]], preset: Sequence[str] = ("hub",)
) -> dict[str, Node]:
    """Nodes by name from (public address, NAT kind); only the `preset` ones have a configured endpoint.

    Nodes that name the same public address share one site.
    """
    members = {}
    for number, (name, (public, _)) in enumerate(plan.items(), start=1):
        key = Key(world.rng.randbytes(32))
        endpoints = (Endpoint(ip_address(public), PORT),) if name in preset else ()
        members[name] = Member(key, ip_address(f"10.14.{number // 250}.{number % 250 + 1}"), endpoints, name)
    for name, (public, nat) in plan.items():
        ip = ip_address(public)
        site = world.sites.setdefault(ip, Site(world, ip, nat))
        lan = ip if nat == "none" else ip_network("192.168.1.0/24")[10 + len(site.nodes)]
        world.nodes[name] = node = Node(world, name, site, lan, members[name], PORT + len(site.nodes))
        node.members = list(members.values())
    return world.nodes
