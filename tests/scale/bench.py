"""`make bench-scale`: how fast meshes of 10 to 3,000 members are, and what they cost (docs/scale.*).

Each mesh is simulated in a process of its own, two at a time. What is measured in which: `PLAN`.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import re
import resource
import sys
import time
import tracemalloc
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

from tests.simulator.node import Node
from tests.unit.large import mesh_of

from .measure import PROBES, Mesh, make_world, p99
from .plan import plan
from .plot import Picture, draw
from .settled import settle

DOCS = Path(__file__).parents[2] / "docs"
SIZES = (10, 30, 100, 300, 1000, 3000)
STARTED = 300  # members up to which a cold start is simulated, and how long a dead path goes unnoticed
SPLIT = 100  # members of the mesh that is split
SPLIT_TIME = 600.0  # s
STEADY_TIME = 60.0  # s, less where there are many: as much work as for 100 nodes
CHANGE_TIME = 5.0  # s over which a change is counted
LARGEST = SIZES[-1]  # simulated for some seconds only, and without WireGuard's keepalives
Figures = dict[str, float]


def prepared(count: int) -> Mesh:
    world = make_world(1)
    return Mesh(world, plan(world, count))


def settled(count: int) -> Mesh:
    mesh = prepared(count)
    settle(mesh.world, mesh.nodes)
    mesh.world.run(5)
    return mesh


def start(count: int) -> Figures:
    """From nothing to a full mesh."""
    mesh, cpu = prepared(count), time.process_time()
    mesh.start()
    most = mesh.run(60, until=lambda: mesh.share_up >= 0.99, step=0.25)
    cpu = time.process_time() - cpu
    rest = mesh.run(60, until=lambda: mesh.share_up == 1.0 and mesh.agrees, step=0.25)
    assert most is not None
    assert rest is not None
    return {"formed 99 %": most, "formed": most + rest, "start cpu": cpu, "start MiB": peak()}


def rest(count: int) -> Figures:
    """What goes on while nothing happens, and a change."""
    mesh = settled(count)
    events, before = mesh.world.events, mesh.endpoints()
    seconds = max(5.0, STEADY_TIME * min(1.0, 100 / count))
    costs = mesh.costs(seconds)
    per_event = costs.cpu * seconds * count / (mesh.world.events - events)
    assert mesh.endpoints() == before, "endpoints moved though nothing happened"
    figures = {
        "gossip datagrams/s": costs.gossip,
        "gossip B/s": costs.gossip_bytes,
        "probes/s": costs.probes,
        "cpu %": 100 * costs.cpu,
        "µs an event": 1e6 * per_event,
    }
    return figures | change(mesh)


def largest(count: int) -> Figures:
    """Some seconds of rest, and a change. 9 million ends of links take 15 GiB."""
    mesh = prepared(count)
    settle(mesh.world, mesh.nodes, keepalives=False)
    costs = mesh.costs(CHANGE_TIME)
    figures = {"gossip datagrams/s": costs.gossip, "gossip B/s": costs.gossip_bytes, "probes/s": costs.probes}
    return figures | {"cpu %": 100 * costs.cpu} | change(mesh)


def change(mesh: Mesh) -> Figures:
    """A node gets another address."""
    gossip, size = totals(mesh)
    took = mesh.change_address(alone(mesh), ip_address("45.1.2.3"), CHANGE_TIME)
    mesh.run(CHANGE_TIME - max(took))
    after, after_size = totals(mesh)
    share = CHANGE_TIME * len(mesh.nodes)
    return {
        "change p50": took[len(took) // 2],
        "change p99": p99(took),
        "change gossip datagrams/s": (after - gossip) / share,
        "change gossip B/s": (after_size - size) / share,
        "MiB": peak(),
    }


def death(count: int) -> Figures:
    """A node is gone without a word: when each of the others says so."""
    mesh = settled(count)
    dead, began = alone(mesh), mesh.world.now
    dead.stop(forget=True)
    alive = {each.name: each for each in mesh.nodes if each is not dead}
    knew: list[float] = []

    def all_know() -> bool:
        for name, node in list(alive.items()):
            if node.mesh and not node.mesh.links[dead.key].is_up:
                knew.append(mesh.world.now - began)
                del alive[name]
        return not alive

    mesh.run(300, until=all_know, step=0.1)
    assert not alive
    return {"dead p50": knew[len(knew) // 2], "dead p99": p99(knew)}


def split(count: int) -> Figures:
    mesh = settled(count)
    mesh.split(SPLIT_TIME, lambda: alone(mesh).site.move(ip_address("45.1.2.3")))
    healed = mesh.run(60, until=lambda: mesh.agrees, step=0.1)
    whole = mesh.run(120, until=lambda: mesh.share_up == 1.0)
    assert healed is not None
    assert whole is not None
    return {"split healed": healed, "split whole": healed + whole}


def memory(count: int) -> Figures:
    """Of the core alone: a mesh of that many members, nine of ten connected."""
    tracemalloc.start()
    mesh, device = mesh_of(count)
    mesh.device(device, 1001.0)
    gc.collect()
    return {"B a peer": tracemalloc.get_traced_memory()[0] / count}


def alone(mesh: Mesh) -> Node:
    """A node whose router it shares with nobody."""
    half = mesh.nodes[len(mesh.nodes) // 2 :]
    return next(each for each in half if each.site.nat == "preserving" and len(each.site.nodes) == 1)


def totals(mesh: Mesh) -> tuple[int, int]:
    sums = [node.sums for node in mesh.nodes]
    return sum(each.gossip for each in sums), sum(each.gossip_bytes for each in sums)


def peak() -> float:
    """MiB that this process took at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


PARTS = {"start": start, "rest": rest, "largest": largest, "death": death, "split": split, "memory": memory}
PLAN = [
    ("largest", LARGEST),
    ("split", SPLIT),
    ("rest", SIZES[-2]),
    *(("start", size) for size in SIZES if size <= STARTED),
    *(("death", size) for size in SIZES if size <= STARTED),
    *(("rest", size) for size in SIZES[:-2]),
    ("memory", LARGEST),
]


def measure(what: tuple[str, int]) -> tuple[int, Figures]:
    part, count = what
    gc.disable()
    return count, PARTS[part](count)


def curve(figures: Mapping[int, Figures], name: str) -> list[tuple[int, float]]:
    return [(size, figures[size][name]) for size in SIZES if name in figures[size]]


def pictures(figures: Mapping[int, Figures]) -> list[Picture]:
    def of(title: str, unit: str, name: str, bound: float | None = None) -> Picture:
        return Picture(title, unit, curve(figures, name), bound)

    return [
        of("99 % of a mesh formed", "s", "formed 99 %"),
        of("New address known, p99", "s", "change p99", 1.5),
        of("Dead path noticed, p99", "s", "dead p99"),
        of("Gossip at rest", "B/s a node", "gossip B/s", 1000.0),
        of("Probes at rest", "1/s a node", "probes/s", PROBES),
        of("CPU at rest with simulator", "%", "cpu %", 1.0),
    ]


COLUMNS = (
    ("99 % formed, s", "formed 99 %", ".1f"),
    ("all formed, s", "formed", ".1f"),
    ("address known p50, s", "change p50", ".2f"),
    ("p99, s", "change p99", ".2f"),
    ("dead path noticed p50, s", "dead p50", ".0f"),
    ("p99, s", "dead p99", ".0f"),
    ("gossip at rest, datagrams/s", "gossip datagrams/s", ".1f"),
    ("B/s", "gossip B/s", ".0f"),
    ("in the 5 s of a change, datagrams/s", "change gossip datagrams/s", ".1f"),
    ("B/s", "change gossip B/s", ".0f"),
    ("probes/s", "probes/s", ".1f"),
    ("CPU, % of a core", "cpu %", ".2f"),
    ("µs an event", "µs an event", ".0f"),
)
TABLE = re.compile(r"(?<=<!-- figures -->\n).*(?=<!-- end of figures -->)", re.DOTALL)


def table(figures: Mapping[int, Figures]) -> str:
    """As Markdown: a row for each size."""
    rows = [["members", *(head for head, _, _ in COLUMNS)], ["--:"] * (len(COLUMNS) + 1)]
    for size in SIZES:
        of = figures[size]
        cells = (format(of[name], form) if name in of else "–" for _, name, form in COLUMNS)
        rows.append([f"{size:,}", *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> int:
    figures: dict[int, Figures] = {size: {} for size in SIZES}
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=1) as pool:
        for count, found in pool.imap_unordered(measure, PLAN, chunksize=1):
            figures[count] |= found
            print(count, {name: round(value, 3) for name, value in found.items()}, flush=True)
    (DOCS / "scale.json").write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    (DOCS / "scale.svg").write_text(draw(pictures(figures), SIZES))
    document = DOCS / "scale.md"
    document.write_text(TABLE.sub(lambda _: table(figures), document.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
