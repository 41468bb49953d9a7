"""Many agents at once: what the scheme costs when it is not a handful of nodes that meet."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from . import lab as waiting
from .conftest import Measured
from .lab import Lab
from .topology import Host, Router, Topology

pytestmark = [pytest.mark.alone, pytest.mark.timeout(300)]
LabOf = Callable[[Topology], Lab]

START = 120.0  # s for all agents to start: most of it is Python's imports, 48 times on a few processors
RARELY = 0.25  # s between two looks: each parses a log, and the agents have the same processors


# With a processor for each, 48 would take as long as 16. On two, which have 40 to 50 s of work for 2,256 ends
# of links and wireguard-go's handshakes, they take about 21 s, and not the 15 s they should: docs/scale.md.
@pytest.mark.parametrize(("count", "bound"), [(16, 6.0), (48, 45.0)])
def test_nodes_half_behind_nats(
    count: int, bound: float, lab_of: LabOf, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL", RARELY)
    public = tuple(Host("hub" if number == 0 else f"p{number}") for number in range(count // 2))
    natted = tuple(Router(f"r{number}", (Host(f"n{number}"),)) for number in range(count // 2))
    lab = lab_of(Topology(public + natted, delay=0.025))
    lab.configure(preset=["hub"])
    lab.start()
    nodes = lab.nodes.values()
    lab.until(lambda: all(node.configured_at() for node in nodes), within=START, what="all agents run")
    ready = max(node.configured_at() or 0.0 for node in nodes)
    lab.until_meshed(within=60)
    # By each end's own last word, with the stamp it had: looking later costs nothing.
    ends = [link.at for one, other in lab.pairs() for link in (one.link(other), other.link(one)) if link]
    assert len(ends) == count * (count - 1)
    what = f"{len(ends) // 2:,} pairs after the last of {count} agents was ready"
    measured(what, max(ends) - ready, bound=bound)
