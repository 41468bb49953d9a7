"""An agent with 3,000 members on the kernel's interface: all are applied and read, one answers.

The processor is emulated, so times and shares are several times those of a real one; see docs/scale.md. The
memory is what it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..lab.lab import Lab
from ..lab.topology import Host, Topology
from .conftest import Printed, until_reached
from .large import members, peers

LabOf = Callable[[Topology], Lab]
WAIT = 300.0  # s, emulated
IDLE = 60.0  # s over which processor and loop are watched
MEBIBYTE = 2**20


def held(output: str) -> float:
    """The longest that a turn of the agent's loop took, s, by its own word."""
    said = [line.rpartition(" held ")[2].split() for line in output.splitlines() if " held " in line]
    return max((float(milliseconds) / 1000 for milliseconds, _ in said), default=0.0)


def test_three_thousand_members_are_applied_and_read(lab_of: LabOf, printed: Printed) -> None:
    lab = lab_of(Topology((Host("hub"), Host("alice"))))
    hub, alice = lab["hub"], lab["alice"]
    lab.configure(preset=["hub"])
    alice.configure(lab.nodes.values(), {"hub": hub.public_endpoint()}, members())
    alice.module = "tests.lab.held_agent"
    lab.start()
    lab.until(alice.configured_at, within=WAIT, what="alice has configured WireGuard")
    printed(
        "3,000 members: from start to the first configuration", (alice.configured_at() or 0.0) - alice.started
    )
    wanted = {key: (address,) for key, address in peers()} | {hub.key: (f"{hub.address}/32",)}
    lab.until(lambda: len(alice.wg.peers()) == len(wanted), within=WAIT, what="all members are peers")
    assert {key: peer.allowed for key, peer in alice.wg.peers().items()} == wanted
    assert {peer.keepalive for peer in alice.wg.peers().values()} == {"20"}
    lab.until_connected(alice, hub, within=WAIT)
    printed("3,000 members: from start to the one that answers", time.time() - alice.started)
    printed("3,000 members: loop held at most, at the start", held(alice.output()))
    begins, cpu, began = len(alice.output()), alice.cpu(), time.monotonic()
    time.sleep(IDLE)
    printed("3,000 members: of a core", 100 * (alice.cpu() - cpu) / (time.monotonic() - began), "%")
    printed("3,000 members: loop held at most", held(alice.output()[begins:]))
    printed("3,000 members: resident", alice.memory() / MEBIBYTE, "MiB")
    until_reached(lab, alice, hub)
    # What others gave them is read and kept with 3,000 as with three: a restart touches nothing.
    key, address = next(peers())
    alice.wg.set("peer", key, "endpoint", "192.0.2.1:9", "allowed-ips", f"{address},10.99.0.0/24")
    assert alice.stop() == 0
    before = alice.wg.peers()
    alice.start()
    lab.until_connected(alice, hub, within=WAIT)
    after = alice.wg.peers()
    assert {each: peer.allowed for each, peer in after.items()} == {
        each: peer.allowed for each, peer in before.items()
    }
