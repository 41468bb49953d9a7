"""`make bench-demo`: how fast the demo's mesh forms and what an agent costs; a table, and bench.json."""

from __future__ import annotations

import json
import lzma
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field

from wgautomesh.wireguard import netlink
from wgautomesh.wireguard.netlink import NLMSG_DONE, messages

from . import evidence, topology
from .lab import Expectation, Lab
from .needs import missing
from .node import REPOSITORY, Node
from .shell import LabError
from .table import Screen, table

RUNS = 5
IDLE_TIME = 60.0  # s over which the CPU of an idle agent is taken
SETTLE_TIME = 5.0  # s after the mesh is whole until it counts as idle
PATIENCE = 30.0  # s for one mesh
MIB = 1 << 20
RECORDED = REPOSITORY / "tests" / "unit" / "three-thousand-peers.xz"


@dataclass(slots=True)
class Figure:
    """One line of the table: every run's value against a bound that the median has to keep."""

    what: str
    unit: str
    bound: float
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def kept(self) -> bool:
        return self.median <= self.bound


@dataclass(slots=True)
class Figures:
    configured: Figure = field(
        default_factory=lambda: Figure("start to first WireGuard configuration", "s", 0.4)
    )
    pair: Figure = field(default_factory=lambda: Figure("two NATed nodes, after both hub links", "s", 1.0))
    mesh: Figure = field(default_factory=lambda: Figure("mesh of 5, from simultaneous start", "s", 3.0))
    memory: Figure = field(default_factory=lambda: Figure("resident memory of an agent", "MiB", 40.0))
    cpu: Figure = field(default_factory=lambda: Figure("CPU of an idle connected agent, of a core", "%", 0.2))
    decoded: Figure = field(
        default_factory=lambda: Figure("a kernel's word of 3,000 peers, decoded first", "ms", 50.0)
    )
    again: Figure = field(default_factory=lambda: Figure("the same when little has changed", "ms", 50.0))

    def all(self) -> list[Figure]:
        return [self.configured, self.pair, self.mesh, self.memory, self.cpu, self.decoded, self.again]


@dataclass(frozen=True, slots=True)
class _Steps:
    """Says on a terminal what is being done."""

    screen: Screen
    run: str

    def __call__(self, step: str) -> None:
        self.screen.redraw(f"{self.run}: {step}")


def main() -> int:
    screen = Screen()
    hindrance = missing()
    if hindrance:
        print(f"bench: {hindrance}", file=sys.stderr)
        return 1
    figures = Figures()
    for number in range(1, RUNS + 1):
        with Lab(topology.demo()) as lab:
            try:
                _run(lab, figures, _Steps(screen, f"run {number} of {RUNS}"))
            except Expectation as failure:
                screen.print(f"bench: {failure}\n{evidence.keep(lab, 'bench', failure.nodes)}")
                return 1
    screen.erase()
    rows = [
        (
            each.what,
            f"{each.median:.2f} {each.unit}",
            f"{max(each.values):.2f} {each.unit}",
            f"{each.bound:g} {each.unit}",
            screen.paint("kept", "green") if each.kept else screen.paint("MISSED", "red"),
        )
        for each in figures.all()
    ]
    screen.print(table(("figure", f"median of {RUNS}", "worst", "bound", ""), rows, right=(1, 2, 3)))
    result = REPOSITORY / "bench.json"
    result.write_text(
        json.dumps([{**asdict(each), "median": each.median} for each in figures.all()], indent=2) + "\n"
    )
    screen.print(f"\n  written to {result.name}")
    return 0 if all(each.kept for each in figures.all()) else 1


def _run(lab: Lab, figures: Figures, show: _Steps) -> None:
    """One lab, all figures. Expectation if the mesh does not form."""
    hub, alice, bob = lab["hub"], lab["alice"], lab["bob"]
    show("3,000 peers are read")
    _decode(figures)
    show("how long one agent takes to configure WireGuard")
    lab.configure()
    hub.start()
    figures.configured.values.append(_configured(lab, hub))
    hub.stop()
    hub.recreate_interface()
    hub.state.unlink(missing_ok=True)
    show("the mesh forms")
    begin = time.time()
    lab.start()
    lab.until_meshed(within=PATIENCE)
    lab.check_pings()
    figures.mesh.values.append(max(_met(one, other) for one, other in lab.pairs()) - begin)
    figures.pair.values.append(_met(alice, bob) - max(_met(alice, hub), _met(bob, hub)))
    time.sleep(SETTLE_TIME)
    show(f"idle for {IDLE_TIME:.0f} s")
    before, since = [node.cpu() for node in lab.nodes.values()], time.monotonic()
    time.sleep(IDLE_TIME)
    used = [node.cpu() - cpu for node, cpu in zip(lab.nodes.values(), before, strict=True)]
    figures.cpu.values.append(100 * statistics.mean(used) / (time.monotonic() - since))
    figures.memory.values.append(max(node.memory() for node in lab.nodes.values()) / MIB)


def _decode(figures: Figures) -> None:
    """As an agent that has just started does it, and as it goes on."""
    content = [
        part for kind, _, _, part in messages(lzma.decompress(RECORDED.read_bytes())) if kind != NLMSG_DONE
    ]
    netlink._decode_allowed_ips.cache_clear()
    netlink._decode_endpoint.cache_clear()
    for figure in (figures.decoded, figures.again):
        began = time.thread_time()
        device = netlink.decode_device(content)
        figure.values.append(1000 * (time.thread_time() - began))
        assert len(device.peers) == 3000


def _configured(lab: Lab, node: Node) -> float:
    lab.until(
        node.configured_at, within=PATIENCE, what=f"{node.name} has configured WireGuard", between=(node,)
    )
    return (node.configured_at() or node.started) - node.started


def _met(one: Node, other: Node) -> float:
    """Wall clock when both ends had said for the first time that they were connected."""
    return max(
        next(each.at for each in here.changes(there) if each.what == "connected")
        for here, there in ((one, other), (other, one))
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit("bench: interrupted, everything is removed")
