"""The clock, the wires and the routers of a simulated world. All chance comes from one seed."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from wgautomesh.link import State
from wgautomesh.values import Endpoint, IPAddress, Key

if TYPE_CHECKING:
    from .node import Node

NAT_TIMEOUT = 120.0  # s
LAN_DELAY = 0.0005  # s
NEAREST, MEAN_DISTANCE = 0.2, 0.5214  # of the mean delay; of two random places in a square with side 1


class Packet(NamedTuple):
    kind: str  # initiation, response or data
    sender: Key
    number: int = 0
    session: int = 0
    payload: object = None
    size: int = 148  # bytes


class World:
    """The clock, the wires between nodes, and the list of what is to come.

    `one_way` is the delay (s) of every wire; with `spread`, places lie on a plain and it is the mean.
    With `codec` each message is encoded and decoded on its way; without, it is handed over as it is.
    With `trace` every node keeps all it sent and said.
    An agent takes up to `busy` (s) for each event: what it read is as old when it acts on it.
    With `paced` the device is read as rarely as the agent does.
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        one_way: float = 0.01,
        loss: float = 0.0,
        spread: bool = False,
        codec: bool = True,
        trace: bool = True,
        busy: float = 0.0,
        paced: bool = False,
    ) -> None:
        self.rng = Random(seed)
        self.now = 1000.0
        self.one_way = one_way
        self.loss = loss
        self.spread = spread
        self.codec = codec
        self.trace = trace
        self.busy = busy
        self.paced = paced
        self.nodes: dict[str, Node] = {}
        self.by_key: dict[Key, Node] = {}
        self.sites: dict[IPAddress, Site] = {}
        self.dropped: set[tuple[str, str]] = set()  # one-way cuts between nodes, by name
        self.parts: dict[str, int] = {}  # the network is in pieces: which one a node lies in
        self.events = 0  # that have happened
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self.numbers = itertools.count(1)

    def at(self, when: float, do: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._events, (max(when, self.now), next(self._order), do, args))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> float:
        """Let time pass, `until` something holds; returns the seconds that passed."""
        began = self.now
        end = began + seconds
        events = self._events
        while events and events[0][0] <= end:
            if until and until():
                return self.now - began
            self.now, _, do, args = heapq.heappop(events)
            self.events += 1
            do(*args)
        if not (until and until()):
            self.now = end
        return self.now - began

    def carry(self, source: Endpoint, to: Endpoint, packet: Packet, sender: Node) -> None:
        """A packet leaves a site for a public address."""
        site = self.sites.get(to.ip)
        if site is None or (self.loss and self.rng.random() < self.loss):
            return
        self.at(self.now + self.delay(sender.site, site), site.receive, source, to, packet, sender)

    def delay(self, one: Site, other: Site) -> float:
        """Seconds on the way between two sites."""
        if not self.spread:
            return self.one_way
        distance = math.dist(one.place, other.place)
        return self.one_way * (NEAREST + (1 - NEAREST) * distance / MEAN_DISTANCE)

    def is_cut(self, sender: Node, receiver: Node) -> bool:
        """Whether nothing gets from one to the other."""
        if self.dropped and (sender.name, receiver.name) in self.dropped:
            return True
        return bool(self.parts) and self.parts.get(sender.name) != self.parts.get(receiver.name)

    def connected(self, *names: str) -> bool:
        """Whether all the nodes named (else all) have each other up."""
        nodes = [self.nodes[name] for name in names] or list(self.nodes.values())
        return all(
            one.state(other) is State.CONNECTED for one in nodes for other in nodes if one is not other
        )


@dataclass(slots=True)
class Flow:
    """A line of a NAT's table."""

    inside: Endpoint
    port: int  # from which packets leave
    used: float  # s


class Site:
    """One public address, with nothing or a NAT (preserving, symmetric) before the nodes behind it."""

    def __init__(self, world: World, public: IPAddress, nat: str = "none") -> None:
        self.world = world
        self.public = public
        self.nat = nat
        self.place = (world.rng.random(), world.rng.random()) if world.spread else (0.0, 0.0)
        self.nodes: dict[IPAddress, Node] = {}
        self.table: dict[tuple[Endpoint, Endpoint], Flow] = {}  # by inside and outside
        self.opened: dict[int, Endpoint] = {}  # ports that lead to a node, from anywhere
        self.settled = float("-inf")  # at that time all nodes had talked to all that keep their port
        self._flows: dict[tuple[int, Endpoint], Flow] = {}  # by port and outside

    def send(self, node: Node, to: Endpoint, packet: Packet) -> None:
        if to.ip in self.nodes:
            neighbour = self.nodes[to.ip]
            source = Endpoint(node.lan_ip, node.port)
            if to.port == neighbour.port:
                self.world.at(self.world.now + LAN_DELAY, neighbour.arrived, source, packet, node)
        elif to.ip == self.public:
            return  # no hairpin
        elif self.nat == "none":
            self.world.carry(node.outside(), to, packet, node)
        else:
            port = self.map(Endpoint(node.lan_ip, node.port), to)
            self.world.carry(Endpoint(self.public, port), to, packet, node)

    def receive(self, source: Endpoint, to: Endpoint, packet: Packet, sender: Node) -> None:
        if to.ip != self.public:
            return  # the address changed while the packet was under way
        if self.nat == "none":
            for node in self.nodes.values():
                if to.port == node.port:
                    node.arrived(source, packet, sender)
            return
        flow = self._flows.get((to.port, source))
        if flow and flow.port == to.port and self.world.now - flow.used < NAT_TIMEOUT:
            flow.used = self.world.now
            self.nodes[flow.inside.ip].arrived(source, packet, sender)
        elif to.port in self.opened:
            inside = self.opened[to.port]
            self._enter(inside, source, to.port)  # answers leave from there
            self.nodes[inside.ip].arrived(source, packet, sender)
        elif self.nat == "preserving" and self.world.now - self.settled < NAT_TIMEOUT:
            for node in self.nodes.values():
                if to.port == node.port and source.port == sender.port:
                    self._enter(Endpoint(node.lan_ip, node.port), source, to.port)
                    node.arrived(source, packet, sender)

    def move(self, public: IPAddress) -> None:
        """The provider gives another address."""
        del self.world.sites[self.public]
        self.public = public
        self.world.sites[public] = self
        self.replace(self.nat)

    def replace(self, nat: str) -> None:
        """Another router, at the same address."""
        self.nat = nat
        self.table.clear()
        self._flows.clear()
        self.settled = float("-inf")

    def map(self, inside: Endpoint, outside: Endpoint) -> int:
        """The port from which packets leave."""
        known = self.table.get((inside, outside))
        if known and self.world.now - known.used < NAT_TIMEOUT:
            known.used = self.world.now
            return known.port
        if self.nat == "symmetric" or self._is_taken(inside):
            port = self.world.rng.randrange(1024, 65536)
        else:
            port = inside.port
        self._enter(inside, outside, port)
        return port

    def _enter(self, inside: Endpoint, outside: Endpoint, port: int) -> None:
        flow = self.table.get((inside, outside))
        if flow:
            flow.port, flow.used = port, self.world.now
        else:
            flow = self.table[inside, outside] = Flow(inside, port, self.world.now)
        self._flows[port, outside] = flow

    def _is_taken(self, inside: Endpoint) -> bool:
        """Whether another node behind this router has the port already."""
        if len(self.nodes) < 2:
            return False
        return any(flow.port == inside.port and flow.inside.ip != inside.ip for flow in self.table.values())
