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
RARELY = 1.0  # s between two looks, which take time of the processors that the agents have


# With a processor for each, 48 would take as long as 16. On two, which 48 agents and their wireguard-go keep
# busy all the while, they take 10 to 11 s; they should within 15 s, and the rest is for what else runs there.
@pytest.mark.parametrize(("count", "bound"), [(16, 6.0), (48, 20.0)])
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
    # Counted first, as looking at each pair takes as much of the processors as a few agents.
    lab.until(
        lambda: all(node.output().count(" connected at ") >= count - 1 for node in nodes),
        within=60,
        what="everybody met as often as there are others",
    )
    lab.until_meshed(within=10)
    # By each end's own last word, with the stamp it had: looking later costs nothing.
    ends = [link.at for one, other in lab.pairs() for link in (one.link(other), other.link(one)) if link]
    assert len(ends) == count * (count - 1)
    what = f"{len(ends) // 2:,} pairs after the last of {count} agents was ready"
    measured(what, max(ends) - ready, bound=bound)
