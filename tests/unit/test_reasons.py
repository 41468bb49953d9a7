"""Reasons that need no real parts: tests/lab/test_reasons.py has the table of those that do."""

from __future__ import annotations

import pytest

from tests.world import World, build
from wgautomesh.link import State
from wgautomesh.reasons import circumstances, reason

TWO_CHANGING = {
    "hub": ("44.128.1.1", "none"),
    "second": ("44.128.1.2", "none"),
    "a": ("44.128.2.1", "symmetric"),
    "b": ("44.128.3.1", "symmetric"),
}


@pytest.mark.parametrize(
    ("behind_two_nats", "clock_back", "line"),
    [
        (False, 0.0, "both NATs change ports: map or fix a port on one side"),
        (True, 0.0, "our router's mapping ends at a second NAT: map a port there, or on the other side"),
        (True, 86400.0, "our clock went back by 24 h: others take our handshakes for old ones and drop them"),
    ],
)
def test_our_own_trouble_comes_before_what_the_other_side_could_do(
    behind_two_nats: bool, clock_back: float, line: str
) -> None:
    world = World(1, one_way=0.025)
    build(world, TWO_CHANGING, preset=("hub", "second"))
    for node in world.nodes.values():
        node.start()
    world.run(30)
    a, b = world.nodes["a"], world.nodes["b"]
    assert a.mesh and a.state(b) is State.TRYING
    a.mesh.standpoint.behind_two_nats = behind_two_nats
    a.mesh.standpoint.clock_back = clock_back
    around = circumstances(a.mesh.links, a.mesh.gossip, a.mesh.standpoint, world.now)
    assert reason(a.mesh.links[b.key], around) == line
    assert reason(a.mesh.links[world.nodes["hub"].key], around) == ""
