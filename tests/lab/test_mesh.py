"""The demo's five nodes: two NATs, a LAN behind a third, one hub whose endpoint is all that anyone knows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from . import topology
from .conftest import Measured
from .lab import Lab
from .node import REPOSITORY
from .topology import Topology

LabOf = Callable[[Topology], Lab]


@pytest.mark.parametrize("delay", [0.0, 0.025, 0.1], ids=lambda delay: f"{delay * 1000:.0f}ms")
def test_five_nodes_become_a_whole_mesh(lab_of: LabOf, measured: Measured, delay: float) -> None:
    lab = lab_of(topology.demo(delay))
    lab.configure()
    lab.start()
    lab.until_meshed(within=20)
    # From when the last agent ran: how long two processors take to start five Pythons is not the protocol's.
    ran = max(node.configured_at() or 0.0 for node in lab.nodes.values())
    links = [link.at for one, other in lab.pairs() for link in (one.link(other), other.link(one)) if link]
    measured("five nodes, from the last start", max(links) - ran, bound=3 + 6 * delay)
    lab.check_pings()
    paths = {(one.name, other.name): lab.path(one, other) for one, other in lab.pairs()}
    assert paths.pop(("carol", "dave")) == "LAN"
    assert set(paths.values()) == {"direct"}


def test_the_demo_ends_with_a_table_of_ten_pairs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.lab.demo"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.partition("──")[2].splitlines() if " ms " in line]
    assert len(rows) == 10
    assert sum(" LAN " in row for row in rows) == 1
    assert sum(" direct " in row for row in rows) == 6
    mapped = [row for row in rows if " mapped " in row]
    assert len(mapped) == 3
    assert all("bob" in row and "44.128.3.1:51820" in row for row in mapped)
