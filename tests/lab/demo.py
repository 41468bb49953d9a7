"""`make demo`: five real nodes behind real NATs become a mesh while you watch.

Exit code 0 only if all pairs are direct, by WireGuard's own word, and answer pings both ways.
"""

from __future__ import annotations

import sys
import time

from . import evidence, topology
from .lab import Expectation, Lab
from .needs import missing
from .node import Node
from .table import Screen, table

TIME_LIMIT = 30.0  # s for the whole mesh
FRAME = 0.1  # s between two pictures

PICTURE = """\
  hub ─── the internet ─┬─ NAT ─── alice
                        ├─ NAT ─── bob
                        └─ NAT ─┬─ carol
                                └─ dave     (no hairpin: they cannot meet outside)
"""


def main() -> int:
    screen = Screen()
    hindrance = missing()
    if hindrance:
        print(f"demo: {hindrance}", file=sys.stderr)
        return 1
    with Lab(topology.demo()) as lab:
        kind = "in the kernel" if lab.kernel else "in userspace (wireguard-go)"
        screen.print(
            screen.paint("wgautomesh: five nodes, one preset endpoint", "bold") + f", WireGuard {kind}\n"
        )
        screen.print(PICTURE)
        lab.configure(preset=["hub"])
        begin = time.time()
        lab.start()
        try:
            _watch(lab, screen, begin)
            lab.check_pings()
        except Expectation as failure:
            screen.erase()
            screen.print(_report(lab, screen, begin))
            screen.print(screen.paint(f"\n  {failure}", "red"))
            screen.print(evidence.keep(lab, "demo", failure.nodes))
            return 1
        screen.erase()
        screen.print(_report(lab, screen, begin))
        pairs = lab.pairs()
        whole = max(_seconds(*pair, begin) or 0.0 for pair in pairs)
        screen.print(
            f"\n  all {len(pairs)} pairs direct, pings answered both ways; "
            + screen.paint(f"mesh whole after {whole:.1f} s", "green")
        )
    return 0


def _watch(lab: Lab, screen: Screen, begin: float) -> None:
    """Show what happens until every pair is connected; Expectation after the time limit."""
    told: set[tuple[str, str]] = set()
    while True:
        open_pairs = [pair for pair in lab.pairs() if _seconds(*pair, begin) is None or not lab.path(*pair)]
        for one, other in lab.pairs():
            pair = (one.name, other.name)
            if (one, other) not in open_pairs and pair not in told and not screen.live:
                told.add(pair)
                took, path = _seconds(one, other, begin), lab.path(one, other)
                screen.print(f"  {took:5.1f} s  {one.name} – {other.name}: {path}")
        if not open_pairs:
            if not screen.live:
                screen.print()
            return
        if time.time() - begin > TIME_LIMIT:
            raise Expectation(
                f"{len(open_pairs)} pairs not connected after {TIME_LIMIT:.0f} s", open_pairs[0]
            )
        dead = next((node for node in lab.nodes.values() if not node.runs()), None)
        if dead:
            raise Expectation(f"{dead.name}'s agent ended by itself", (dead,))
        screen.redraw(_report(lab, screen, begin, measure=False))
        time.sleep(FRAME)


def _report(lab: Lab, screen: Screen, begin: float, *, measure: bool = True) -> str:
    rows = []
    for one, other in lab.pairs():
        path, took = lab.path(one, other), _seconds(one, other, begin)
        rtt = one.ping(other, count=5) if path and measure else None
        rows.append(
            (
                f"{one.name} – {other.name}",
                screen.paint(path, "green") if path else screen.paint("none yet", "yellow"),
                other.endpoint(one) or "–",
                one.endpoint(other) or "–",
                f"{rtt * 1000:.1f} ms" if rtt is not None else "–",
                f"{took:.1f} s" if took is not None else "–",
            )
        )
    head = ("pair", "path", "first is used at", "second is used at", "RTT", "after")
    return table([screen.paint(each, "bold") for each in head], rows, right=(4, 5))


def _seconds(one: Node, other: Node, begin: float) -> float | None:
    """From the start until both ends said they were connected."""
    links = (one.link(other), other.link(one))
    return max(link.at for link in links if link) - begin if all(links) else None


if __name__ == "__main__":
    sys.exit(main())
