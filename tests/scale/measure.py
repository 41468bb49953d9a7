"""What happens to a large simulated mesh, what it costs, and what must hold at every moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from tests.simulator.node import Node, Sums
from tests.simulator.wire import World
from wgautomesh.candidates import MAX_CANDIDATES
from wgautomesh.gossip import INTRODUCTIONS_KEPT
from wgautomesh.link import PROBES_KEPT
from wgautomesh.messages import Kind
from wgautomesh.pace import AT_ONCE, PROBE_RATE, REPEAT_RATE
from wgautomesh.reflexive import OBSERVERS
from wgautomesh.values import Endpoint, IPAddress

from .plan import can_meet, links_up, meetings

ONE_WAY, LOSS = 0.025, 0.01  # s on average, 50 ms there and back; packets
AMPLIFICATION = AT_ONCE + 16  # datagrams for one: asked for 48 members one tells each, and the asker in parts
PROBES = PROBE_RATE + REPEAT_RATE  # a second and node
STEP = 0.05  # s of virtual time between two looks at who knows


def make_world(seed: int) -> World:
    return World(seed, one_way=ONE_WAY, loss=LOSS, spread=True, codec=False, trace=False, paced=True)


@dataclass(frozen=True)
class Costs:
    """A second and node, on average over some time."""

    gossip: float  # datagrams, all but probes and their answers
    gossip_bytes: float
    probes: float
    cpu: float  # s of this machine, for the core and what it is simulated on

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


class Mesh:
    """Nodes in a world, watched: `run` checks at every step what must always hold."""

    def __init__(self, world: World, nodes: list[Node]) -> None:
        self.world, self.nodes = world, nodes

    def run(
        self, seconds: float, until: Callable[[], bool] = lambda: False, step: float = 1.0
    ) -> float | None:
        """Let time pass, `until` something holds; after how many s it did."""
        began = self.world.now
        while not until():
            if self.world.now >= began + seconds - step / 2:
                return None
            self.world.run(step)
            self.check()
        return self.world.now - began

    def check(self) -> None:
        """All that is remembered is bounded, and no datagram makes many."""
        members, when = set(self.world.by_key), f"at {self.world.now:.2f} s"
        for node in self.nodes:
            if node.mesh is None:
                continue
            gossip = node.mesh.gossip
            assert set(gossip.book) <= members, when
            assert len(gossip._introduced) <= INTRODUCTIONS_KEPT, when
            assert len(node.mesh.standpoint._reflexive._sightings) <= 2 * OBSERVERS, when
            assert node.sums.most <= AMPLIFICATION, f"{when}: {node.sums.most} datagrams for one"
            for link in node.mesh.links.values():
                assert len(link.candidates) <= MAX_CANDIDATES, when
                assert len(link.probes) <= PROBES_KEPT, when

    @property
    def share_up(self) -> float:
        """Of the links that can be."""
        return links_up(self.nodes) / meetings(self.nodes)

    @property
    def agrees(self) -> bool:
        """Whether all books are the same, and of all members."""
        books = {node.mesh.gossip.book.digest for node in self.nodes if node.mesh}
        first = next(node.mesh for node in self.nodes if node.mesh)
        return len(books) == 1 and len(set(first.gossip.book)) == len(self.nodes)

    def start(self) -> None:
        """All within a second."""
        for node in self.nodes:
            self.world.at(self.world.now + self.world.rng.random(), node.start)

    def costs(self, seconds: float) -> Costs:
        """What goes on while nothing happens."""
        before, cpu = [totals(node.sums) for node in self.nodes], time.process_time()
        self.world.run(seconds)
        cpu = time.process_time() - cpu
        self.check()
        after = [totals(node.sums) for node in self.nodes]
        share = seconds * len(self.nodes)
        gossip, size, probes = (
            sum(new[each] - old[each] for new, old in zip(after, before, strict=True)) / share
            for each in range(3)
        )
        return Costs(gossip, size, probes, cpu / share)

    def endpoints(self) -> dict[tuple[str, str], Endpoint | None]:
        """Where every node sends to those that it can reach."""
        by_key = self.world.by_key
        return {
            (node.name, by_key[key].name): session.endpoint
            for node in self.nodes
            for key, session in node.peers.items()
            if can_meet(node, by_key[key])
        }

    def change_address(self, node: Node, public: IPAddress, seconds: float = 30.0) -> list[float]:
        """A provider gives a node another address: after how many s each of the others knew it."""
        began = self.world.now
        node.site.move(public)
        missing = {each.name: each for each in self.nodes if each is not node}
        known: list[float] = []

        def all_know() -> bool:
            for name, each in list(missing.items()):
                record = each.mesh.gossip.book.get(node.key) if each.mesh else None
                routes = record.routes if record else ()
                if any(route.kind is Kind.OBSERVED and route.endpoint.ip == public for route in routes):
                    known.append(self.world.now - began)
                    del missing[name]
            return not missing

        self.run(seconds, until=all_know, step=STEP)
        return sorted(known + [float("inf")] * len(missing))

    def split(self, seconds: float, happens: Callable[[], None]) -> None:
        """Cut it in two for so long; in the middle of that something happens."""
        self.world.parts = {node.name: number % 2 for number, node in enumerate(self.nodes)}
        self.run(seconds / 2)
        happens()
        self.run(seconds / 2)
        self.world.parts = {}


def totals(sums: Sums) -> tuple[int, int, int]:
    return sums.gossip, sums.gossip_bytes, sums.probes


def p99(values: list[float]) -> float:
    return values[min(len(values) - 1, int(0.99 * len(values)))]
