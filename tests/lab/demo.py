"""`make demo`: five real nodes behind real NATs become a mesh while you watch.

Exit code 0 only if all pairs are connected, by WireGuard's own word, and answer pings both ways.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass

from . import evidence, topology
from .lab import Expectation, Lab
from .needs import missing
from .node import Node
from .shell import LabError
from .table import Screen, table

TIME_LIMIT = 30.0  # s for the whole mesh
FRAME = 0.1  # s between two pictures

PICTURE = """\
  hub ─── the internet ─┬─ NAT ─── alice
                        ├─ NAT ─── bob      (a port for each destination; opens one on request)
                        └─ NAT ─┬─ carol
                                └─ dave     (no hairpin: they cannot meet outside)
"""


@dataclass(slots=True)
class Pair:
    """A row of the table; None is what we do not know yet."""

    one: Node
    other: Node
    took: float | None = None  # s from the start until both ends said they were connected
    path: str | None = None
    rtt: float | None = None

    def look(self, lab: Lab, begin: float) -> bool:
        """Whether the pair is connected: its agents say so, and WireGuard shows a right path at both ends."""
        links = [self.one.link(self.other), self.other.link(self.one)]
        self.took = max(link.at for link in links if link) - begin if all(links) else None
        self.path = lab.path(self.one, self.other) if self.took is not None else None
        return self.path is not None

    def cells(self, screen: Screen) -> tuple[str, ...]:
        return (
            f"{self.one.name} – {self.other.name}",
            screen.paint(self.path, "green") if self.path else screen.paint("not yet", "yellow"),
            (self.path and self.other.endpoint(self.one)) or "–",
            (self.path and self.one.endpoint(self.other)) or "–",
            f"{self.rtt * 1000:.1f} ms" if self.rtt is not None else "–",
            f"{self.took:.1f} s" if self.took is not None else "–",
        )


def main() -> int:
    screen = Screen()
    hindrance = missing()
    if hindrance:
        print(f"demo: {hindrance}", file=sys.stderr)
        return 1
    with Lab(topology.demo(maps=topology.Maps.ALL)) as lab:
        kind = "in the kernel" if lab.kernel else "in userspace (wireguard-go)"
        title = screen.paint("wgautomesh: five nodes, one preset endpoint", "bold")
        screen.print(f"{title}, WireGuard {kind}\n\n{PICTURE}")
        pairs = [Pair(one, other) for one, other in lab.pairs()]
        lab.configure(preset=["hub"])
        begin = time.time()
        lab.start()
        failure = None
        try:
            _watch(lab, pairs, screen, begin)
            lab.check_pings()
            for pair in pairs:
                pair.rtt = pair.one.ping(pair.other, count=3)
        except Expectation as expectation:
            failure = expectation
        screen.erase()
        screen.print(_report(pairs, screen))
        if failure:
            screen.print(screen.paint(f"\n  {failure}", "red"))
            screen.print(evidence.keep(lab, "demo", failure.nodes))
            return 1
        whole = max(pair.took or 0.0 for pair in pairs)
        done = screen.paint(f"mesh whole after {whole:.1f} s", "green")
        screen.print(f"\n  {_ways(pairs)}; pings answered both ways; {done}")
    return 0


def _watch(lab: Lab, pairs: list[Pair], screen: Screen, begin: float) -> None:
    """Show what happens until every pair is connected; Expectation after the time limit."""
    waiting = pairs
    while waiting:
        done = [pair for pair in waiting if pair.look(lab, begin)]
        waiting = [pair for pair in waiting if pair not in done]
        for pair in done:
            if not screen.live:
                screen.print(f"  {pair.took:5.1f} s  {pair.one.name} – {pair.other.name}: {pair.path}")
        screen.redraw(_report(pairs, screen))
        dead = next((node for node in lab.nodes.values() if not node.runs()), None)
        if dead:
            raise Expectation(f"{dead.name}'s agent ended by itself", (dead,))
        if waiting and time.time() - begin > TIME_LIMIT:
            first = waiting[0]
            text = f"{len(waiting)} pairs not connected after {TIME_LIMIT:.0f} s"
            raise Expectation(text, (first.one, first.other))
        time.sleep(FRAME)
    if not screen.live:
        screen.print()


def _ways(pairs: list[Pair]) -> str:
    """How many pairs go which way."""
    count = Counter(pair.path for pair in pairs)
    ways = (
        ("direct", "direct"),
        ("mapped", "through the port that bob's router opened"),
        ("LAN", "on the LAN"),
    )
    return ", ".join(f"{count[way]} {words}" for way, words in ways)


def _report(pairs: list[Pair], screen: Screen) -> str:
    head = ("pair", "path", "first reached at", "second reached at", "RTT", "after")
    cells = [pair.cells(screen) for pair in pairs]
    return table([screen.paint(each, "bold") for each in head], cells, right=(4, 5))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit("demo: interrupted, everything is removed")
