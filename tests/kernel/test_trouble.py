"""What breaks, and what is flooded, where WireGuard is the kernel's: as the lab does with the other kind."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time

from ..lab.lab import Lab
from ..lab.node import GOSSIP_PORT, REPOSITORY, Node
from ..lab.test_flood import GROWTH, MEBIBYTE, sealed_greeting
from .conftest import ONLY_NET_ADMIN, WAIT, Printed, until_reached

KILLS = 3
FLOOD = 10.0  # s
# Datagrams a second: many times what a mesh of four says. The emulated machine bears some 15,000; who sends
# as many as it can leaves everybody else no processor, and that is what would be seen.
RATE = 5_000
LINES = 10  # in the log, at most, for each kind of trouble


def test_an_interface_that_is_renamed_is_waited_for(mesh: Lab, printed: Printed) -> None:
    alice, hub = mesh["alice"], mesh["hub"]
    name, begins = alice.wg.name, len(alice.output())
    alice.box.ns.ip(f"link set {name} down", f"link set {name} name {name}x")
    mesh.until(lambda: "waiting for it" in alice.output()[begins:], within=WAIT, what="alice misses it")
    alice.box.ns.ip(f"link set {name}x name {name}", f"link set {name} up")
    printed("reached after an interface got its name back", until_reached(mesh, alice, hub))


def test_errors_of_netlink_pass(mesh: Lab, printed: Printed) -> None:
    """Each third errand fails, with EBUSY, EPERM, ENOBUFS, ENODEV and ENOMEM in turn; no session is left."""
    alice, bob = mesh["alice"], mesh["bob"]
    alice.stop()
    alice.recreate_interface()
    alice.module = "tests.lab.faulty_agent"
    alice.start(through=ONLY_NET_ADMIN)
    alice.module = "wgautomesh"  # from the next start on: the test below kills her
    printed("met in spite of failing errands", until_reached(mesh, alice, bob))
    said = ("busy", "not permitted", "buffer space", "is gone", "memory")
    mesh.until(lambda: all(map(alice.says, said)), within=WAIT, what="each error came and was said")
    assert alice.runs()


def test_agents_killed_at_any_moment_leave_sessions_and_a_state_that_can_be_read(mesh: Lab) -> None:
    alice, bob = mesh["alice"], mesh["bob"]
    mesh.until(
        lambda: alice.state.exists() and bob.key in alice.state.read_text(),
        within=WAIT,
        what="alice has kept where bob is",
    )
    handshake, rng = alice.handshake(bob), random.Random(1)
    pinging = alice.pinging(bob)
    for _ in range(KILLS):
        alice.kill()
        assert bob.key in json.loads(alice.state.read_text())["endpoints"]
        alice.start(through=ONLY_NET_ADMIN)
        time.sleep(rng.uniform(0.5, 5.0))
    mesh.until(lambda: alice.ask("status")[0] == 0, within=WAIT, what="alice has all her links")
    assert pinging.stop().lost == []
    assert alice.handshake(bob) >= handshake
    assert not alice.says("set aside")


def received(node: Node) -> int:
    """Bytes that came out of its tunnels; a peer's own count would begin anew with a session."""
    return int(node.box.ns.run("cat", f"/sys/class/net/{node.wg.name}/statistics/rx_bytes"))


def test_a_flood_of_a_member_ends_no_link_and_keeps_nobody_from_meeting(mesh: Lab, printed: Printed) -> None:
    carol, hub, alice, bob = (mesh[name] for name in ("carol", "hub", "alice", "bob"))
    carol.stop()
    valid = sealed_greeting(carol, hub)
    flood = carol.box.ns.spawn(
        *(sys.executable, "-m", "tests.lab.flood", hub.address, str(GOSSIP_PORT), str(RATE), valid),
        carol.address,
        output=subprocess.PIPE,
        env={"PYTHONPATH": str(REPOSITORY)},
    )
    assert flood.stdout and flood.stdout.readline().strip() not in (b"", b"0")
    handshake, before = alice.handshake(hub), received(hub)
    told = len(hub.changes(alice))
    lines, memory, began = len(hub.lines()), hub.memory(), time.monotonic()
    bob.kill()
    bob.recreate_interface()
    bob.start(through=ONLY_NET_ADMIN)
    printed("reached under a flood", until_reached(mesh, bob, hub))
    time.sleep(max(0.0, began + FLOOD - time.monotonic()))
    assert flood.poll() is None
    megabytes = (received(hub) - before) / 1e6
    printed(f"of flood with {megabytes:.1f} MB", time.monotonic() - began)
    flood.kill()
    flood.communicate()
    assert megabytes > 1
    assert (hub.memory() - memory) / MEBIBYTE <= GROWTH
    assert len(hub.lines()) - lines <= LINES
    assert alice.handshake(hub) >= handshake
    assert not [each for each in hub.changes(alice)[told:] if each.what == "silent"]
    until_reached(mesh, alice, hub)
    carol.start(through=ONLY_NET_ADMIN)
