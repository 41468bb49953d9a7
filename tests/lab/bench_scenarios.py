"""`make bench-scenarios`: how fast each scenario heals, and what an agent costs in meshes of 5, 16 and 48.

A table, and bench-scenarios.json. Takes 25 minutes.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from .lab import Expectation, Lab
from .needs import missing
from .node import GOSSIP_PORT, REPOSITORY, Node
from .shell import LabError
from .table import Screen, table
from .test_nasty import healed, meshed, preset_wrongly, since_hub, until_noticed
from .topology import Host, Nat, Router, Topology, Versions, demo, pair

RUNS = 10
SIZES = (5, 16, 48)
WINDOW = 60.0  # s over which traffic and CPU of an idle mesh are taken
SETTLE = 15.0  # s after the mesh is whole until it counts as idle
PATIENCE = 60.0  # s
SLEEP = 10.0  # s; more than an agent would take for a busy machine
MIB = 1 << 20

Scenario = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Convergence:
    """Seconds, one for each run; infinity where it did not happen in time."""

    scenario: str
    runs: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.runs)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one agent, on average, in an idle mesh; memory is the largest one's."""

    nodes: int
    formed: float  # s from the last agent's start to the whole mesh
    gossip: float  # bytes sent a minute, inside the tunnel, headers included
    cpu: float  # % of a core
    memory: float  # MiB


def cold(topology: Topology, one: str = "alice", other: str = "bob") -> Scenario:
    """Seconds from the moment both have the hub until they have each other."""

    def run() -> float:
        with Lab(topology) as lab:
            lab.configure(preset=["hub"])
            lab.start()
            return since_hub(lab, lab[one], lab[other])

    return run


def late_joiner() -> float:
    with Lab(pair(delay=0.025)) as lab:
        lab.configure(preset=["hub"])
        lab.start("hub", "alice")
        lab.until_connected(lab["hub"], lab["alice"], within=PATIENCE)
        lab.start("bob")
        return since_hub(lab, lab["alice"], lab["bob"])


def neighbours() -> float:
    with Lab(Topology((Host("hub"), Router("home", (Host("carol"), Host("dave")))))) as lab:
        lab.configure(preset=["hub"])
        lab.start()
        lab.until_running()
        return lab.until(
            lambda: lab.path(lab["carol"], lab["dave"]) == "LAN", within=PATIENCE, what="the LAN path"
        )


def wrong_preset() -> float:
    with Lab(Topology((Host("hub"), Host("alice"), Host("bob")), delay=0.025)) as lab:
        preset_wrongly(lab)
        lab.start()
        lab.until_running()
        return lab.until_connected(lab["alice"], lab["bob"], within=PATIENCE)


def dead_path() -> float:
    with Lab(pair(delay=0.025)) as lab:
        meshed(lab)
        lab.net.cut("alice", "bob")
        return until_noticed(lab, lab["alice"], lab["bob"])


def under_loss() -> float:
    with Lab(demo(delay=0.025)) as lab:
        lab.net.impair(drop=0.2)
        lab.configure(preset=["hub"])
        lab.start()
        return lab.until_meshed(within=PATIENCE)


def after(fault: Callable[[Lab], None]) -> Scenario:
    """Seconds from the fault until packets go both ways again between the two behind NATs, at 25 ms."""

    def run() -> float:
        with Lab(pair(delay=0.025)) as lab:
            meshed(lab)
            fault(lab)
            alice, bob = lab["alice"], lab["bob"]
            return lab.until(healed(lab, alice, bob), within=PATIENCE, what="the pair is back")

    return run


def both_move(lab: Lab) -> None:
    lab.net.renumber("north")
    lab.net.renumber("south")


def sleep(lab: Lab) -> None:
    lab["alice"].pause()
    time.sleep(SLEEP)
    lab.net.flush_nat("north")
    lab["alice"].resume()


FIXED = Topology((Host("hub"), Host("fixed"), Router("north", (Host("alice"),), Nat.SYMMETRIC)), delay=0.025)
SCENARIOS: dict[str, Scenario] = {
    "two NATs, cold, 0 ms": cold(pair()),
    "two NATs, cold, 25 ms": cold(pair(delay=0.025)),
    "two NATs, cold, 100 ms": cold(pair(delay=0.1)),
    "the same on IPv6 alone": cold(Topology(pair().trunk, versions=Versions.V6, delay=0.025)),
    "a changing NAT and a fixed port": cold(FIXED, other="fixed"),
    "a late joiner": late_joiner,
    "neighbours behind one NAT": neighbours,
    "a wrong preset endpoint": wrong_preset,
    "a mesh of five, 20 % lost": under_loss,
    "a router's new public address": after(lambda lab: lab.net.renumber("north")),
    "a node's own new address": after(lambda lab: lab.net.renumber("alice")),
    "both routers' new addresses": after(both_move),
    "a router's reboot": after(lambda lab: lab.net.flush_nat("north")),
    "an interface made anew": after(lambda lab: lab["alice"].recreate_interface()),
    f"a machine that slept {SLEEP:.0f} s": after(sleep),
    "a dead path noticed": dead_path,
}


def cost(nodes: int) -> Cost:
    """A mesh of this size, half of it behind NATs, 25 ms apart."""
    public = [Host("hub" if number == 0 else f"p{number}") for number in range((nodes + 1) // 2)]
    natted = [Router(f"r{number}", (Host(f"n{number}"),)) for number in range(nodes // 2)]
    with Lab(Topology((*public, *natted), delay=0.025)) as lab:
        lab.configure(preset=["hub"])
        lab.start()
        members = list(lab.nodes.values())
        lab.until_running()
        began = max(node.configured_at() or 0.0 for node in members)
        lab.until_meshed(within=PATIENCE)
        ends = [link.at for one, other in lab.pairs() for link in (one.link(other), other.link(one)) if link]
        time.sleep(SETTLE)
        for node in members:
            _count(node)
        before = [node.cpu() for node in members]
        time.sleep(WINDOW)
        cpu = [100 * (node.cpu() - used) / WINDOW for node, used in zip(members, before, strict=True)]
        return Cost(
            nodes,
            formed=max(ends) - began,
            gossip=statistics.mean(_counted(node) for node in members) * 60 / WINDOW,
            cpu=statistics.mean(cpu),
            memory=max(node.memory() for node in members) / MIB,
        )


def _count(node: Node) -> None:
    rule = f'oifname "{node.wg.name}" udp dport {GOSSIP_PORT} counter'
    node.box.ns.nft(f"table inet count {{ chain out {{ type filter hook output priority 0; {rule}; }}; }}")


def _counted(node: Node) -> int:
    listing = node.box.ns.run("nft", "list", "table", "inet", "count")
    found = re.search(r"bytes (\d+)", listing)
    return int(found[1]) if found else 0


def main() -> int:
    screen = Screen()
    hindrance = missing()
    if hindrance:
        print(f"bench: {hindrance}", file=sys.stderr)
        return 1
    results = []
    for name, scenario in SCENARIOS.items():
        runs = []
        for number in range(1, RUNS + 1):
            screen.redraw(f"{name}: run {number} of {RUNS}")
            try:
                runs.append(scenario())
            except Expectation:
                runs.append(float("inf"))
        results.append(Convergence(name, runs))
    screen.erase()
    rows = [(each.scenario, f"{each.median:.2f} s", f"{max(each.runs):.2f} s") for each in results]
    screen.print(table(("scenario", f"median of {RUNS}", "worst"), rows, right=(1, 2)) + "\n")
    costs = []
    for nodes in SIZES:
        screen.redraw(f"a mesh of {nodes}")
        costs.append(cost(nodes))
    screen.erase()
    sizes = [
        (
            str(c.nodes),
            f"{c.formed:.1f} s",
            f"{c.gossip / 1000:.1f} kB",
            f"{c.cpu:.2f} %",
            f"{c.memory:.1f} MiB",
        )
        for c in costs
    ]
    head = ("nodes", "mesh whole after", "gossip a minute", "CPU of an agent", "memory")
    screen.print(table(head, sizes, right=(0, 1, 2, 3, 4)))
    figures = {"convergence": [asdict(each) for each in results], "cost": [asdict(each) for each in costs]}
    (REPOSITORY / "bench-scenarios.json").write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if all(max(each.runs) < PATIENCE for each in results) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit("bench: interrupted, everything is removed")
