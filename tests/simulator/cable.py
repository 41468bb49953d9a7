"""A LAN between simulated nodes, beside their ways to the Internet."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from wgautomesh.values import Endpoint, IPAddress

from .wire import LAN_DELAY, Packet, World

if TYPE_CHECKING:
    from .node import Node

NETWORK = ip_network("10.9.0.0/24")
PROOF = (0.002, 0.012)  # s from a beacon until the member has proved that it is there: least and most


class Cable:
    """Carries what is sent, and beacons, which are proved at once.

    `up`: whether anything gets through; nobody is told. `wireguard`: whether more than beacons does.
    """

    def __init__(self, world: World, *names: str) -> None:
        self.world = world
        self.nodes: dict[IPAddress, Node] = {
            NETWORK[place]: world.nodes[name] for place, name in enumerate(names, 1)
        }
        self.up = self.wireguard = True
        for node in self.nodes.values():
            node.cables.append(self)
            node.network_changed()
        self.beacons()

    def ip(self, node: Node) -> IPAddress:
        return next(ip for ip, each in self.nodes.items() if each is node)

    def beacons(self) -> None:
        """Each learns where the others are, at a moment of its own."""
        if not self.up:
            return
        for ip, node in self.nodes.items():
            for other in self.nodes.values():
                if node is not other:
                    when = self.world.now + self.world.rng.uniform(*PROOF)
                    self.world.at(when, other.found, node, Endpoint(ip, node.port))

    def send(self, node: Node, to: Endpoint, packet: Packet) -> None:
        other, source = self.nodes[to.ip], Endpoint(self.ip(node), node.port)
        if self.up and self.wireguard and to.port == other.port:
            self.world.at(self.world.now + LAN_DELAY, other.arrived, source, packet, node)

    def unplug(self, node: Node) -> IPAddress:
        """The node sees its carrier go; the others do not. Returns the address it had."""
        ip = self.ip(node)
        del self.nodes[ip]
        node.cables.remove(self)
        node.network_changed()
        return ip

    def plug(self, node: Node, ip: IPAddress) -> None:
        """The node has its address again, and says so."""
        self.nodes[ip] = node
        node.cables.append(self)
        node.network_changed()
        self.beacons()
