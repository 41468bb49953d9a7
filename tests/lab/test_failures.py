"""What breaks around an agent: it says so once, lives on, and is whole again when the trouble is over."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from . import topology
from .conftest import Measured
from .lab import Lab
from .node import GOSSIP_PORT, Node
from .shell import run
from .topology import Host, Router, Topology

LabOf = Callable[[Topology], Lab]
KILLS = 10  # of a whole agent; a hundred, of the writing alone, in tests/unit/test_failures.py
HOLDER = """import socket, sys, time
taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
taken.bind((sys.argv[1], int(sys.argv[2])))
print(flush=True)
time.sleep(60)"""

THIEF = """import socket, sys
taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
taken.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, sys.argv[1].encode())
taken.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO: to whom it was
taken.bind(("", int(sys.argv[2])))
print("bound", flush=True)
while True:
    _, told, _, _ = taken.recvmsg(2048, 64)
    if not told[0][2][8:12].endswith(b"\\xff"):
        print("stolen", flush=True)"""


def two(lab_of: LabOf) -> tuple[Lab, Node, Node]:
    lab = lab_of(Topology((Host("hub"), Host("alice"))))
    return lab, lab["hub"], lab["alice"]


def said(node: Node, text: str) -> int:
    return sum(text in line.text for line in node.lines())


@contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    run(["mount", "-t", "tmpfs", "-o", f"size={size}", "wgam", str(folder)])
    try:
        yield folder
    finally:
        run(["umount", "-l", str(folder)])


def test_an_interface_that_is_renamed_is_waited_for(lab_of: LabOf, measured: Measured) -> None:
    lab, hub, alice = two(lab_of)
    lab.configure()
    lab.start()
    lab.until_meshed(within=10)
    name = alice.wg.name
    alice.box.ns.ip(f"link set {name} down", f"link set {name} name {name}x")
    lab.until(lambda: said(alice, "waiting for it"), within=15, what="alice misses her interface")
    alice.box.ns.ip(f"link set {name}x name {name}", f"link set {name} up")
    took = lab.until(lambda: alice.ask("status")[0] == 0, within=20, what="alice is connected again")
    measured("after an interface got its name back", took, bound=5)
    assert alice.ping(hub) and alice.runs()


def test_a_userspace_wireguard_that_hangs_does_not_hold_the_agent(lab_of: LabOf) -> None:
    lab, hub, alice = two(lab_of)
    if lab.kernel:
        pytest.skip("the kernel's WireGuard is no process that could hang")
    lab.configure()
    lab.start()
    lab.until_meshed(within=10)
    assert alice.wg.process
    os.kill(alice.wg.process.pid, signal.SIGSTOP)
    try:
        lab.until(lambda: said(alice, "no answer within 2 s"), within=20, what="alice says what hangs")
        assert alice.ask("status")[0] in (0, 3)  # she still answers
    finally:
        os.kill(alice.wg.process.pid, signal.SIGCONT)
    lab.until(lambda: alice.ping(hub, within=0.5), within=20, what="alice is back")
    assert said(alice, "no answer within 2 s") <= 2 and alice.runs()  # reading, and configuring


def test_a_gossip_port_that_is_taken_is_said_once_and_had_when_it_is_free(lab_of: LabOf) -> None:
    lab, hub, alice = two(lab_of)
    thief = alice.box.ns.spawn(
        *(sys.executable, "-c", HOLDER, alice.address, str(GOSSIP_PORT)), output=subprocess.PIPE
    )
    assert thief.stdout and thief.stdout.readline()
    lab.configure()
    lab.start()
    lab.until(lambda: said(alice, "cannot open the gossip socket"), within=10, what="alice says so")
    time.sleep(3)
    assert said(alice, "cannot open the gossip socket") == 1
    thief.kill()
    thief.communicate()
    lab.until_connected(hub, alice, within=10)


def test_a_thief_of_the_lan_port_keeps_no_neighbours_apart(lab_of: LabOf, measured: Measured) -> None:
    """A local user without rights may share the port, and gets what is sent to one address there alone."""
    lab = lab_of(Topology((Router("home", (Host("carol"), Host("dave"))),)))
    carol, dave = lab["carol"], lab["dave"]
    lab.configure(preset=[])
    lab.start("carol")
    lab.until(carol.configured_at, within=10, what="carol is ready")
    lab.until(
        lambda: f"%eth0:{GOSSIP_PORT}" in carol.box.ns.run("ss", "-Hlun"), within=10, what="her LAN socket"
    )
    user = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    thief = carol.box.ns.spawn(
        *(*user, sys.executable, "-c", THIEF, "eth0", str(GOSSIP_PORT)), output=subprocess.PIPE
    )
    assert thief.stdout and thief.stdout.readline()
    lab.start("dave")
    measured("a LAN pair despite a thief", lab.until_connected(carol, dave, within=20), bound=5)
    assert lab.path(carol, dave) == "LAN"
    assert thief.stdout.readline().strip() == b"stolen"
    thief.kill()
    thief.communicate()


def test_a_full_disk_and_one_that_cannot_be_written_keep_nobody_from_meeting(lab_of: LabOf) -> None:
    lab, hub, alice = two(lab_of)
    with tmpfs(alice.folder / "full", "4k") as full, tmpfs(hub.folder / "sealed", "4k") as sealed:
        (full / "filler").write_bytes(bytes(4096))
        run(["mount", "-o", "remount,ro", str(sealed)])
        preset = {"hub": hub.public_endpoint()}
        alice.configure(lab.nodes.values(), preset, persist_file=str(full / "state"))
        hub.configure(lab.nodes.values(), preset, persist_file=str(sealed / "state"))
        lab.start()
        lab.until_meshed(within=10)
        for node in (alice, hub):
            lab.until(partial(said, node, "cannot write"), within=10, what=f"{node.name} says so")
        (full / "filler").unlink()
        assert alice.stop() == 0 and hub.stop() == 0
        assert said(alice, "cannot write") == said(hub, "cannot write") == 1
        assert hub.key in json.loads((full / "state").read_text())["endpoints"]
        assert sorted(each.name for each in full.iterdir()) == ["state"]


def test_without_a_free_file_descriptor_the_agent_lives_on(lab_of: LabOf) -> None:
    lab, hub, alice = two(lab_of)
    lab.configure()
    lab.start()
    lab.until_meshed(within=10)
    assert alice.agent
    pid = alice.agent.pid
    used = max(int(each.name) for each in Path("/proc", str(pid), "fd").iterdir())
    usual, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 1, hard))
    before = len(alice.lines())
    visitors = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    for each in visitors:
        each.connect(str(alice.control))
    hub.wg.set("peer", alice.key, "remove")  # something to do: the hub makes her anew
    time.sleep(6)
    assert alice.runs() and len(alice.lines()) - before <= 10
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (usual, hard))
    for each in visitors:
        each.close()
    lab.until(lambda: alice.ping(hub, within=0.5), within=20, what="alice is back")
    lab.until(lambda: alice.ask("status")[0] == 0, within=10, what="alice answers")


def test_agents_killed_at_any_moment_leave_sessions_and_a_state_that_can_be_read(lab_of: LabOf) -> None:
    lab = lab_of(topology.pair())
    alice, bob = lab["alice"], lab["bob"]
    lab.configure()
    lab.start()
    lab.until_meshed(within=20)
    lab.until(
        lambda: alice.state.exists() and bob.key in alice.state.read_text(),
        within=10,
        what="alice has kept where bob is",
    )
    handshake, rng = alice.handshake(bob), random.Random(1)
    pings = alice.pinging(bob)
    for _ in range(KILLS):
        alice.kill()
        assert json.loads(alice.state.read_text())["endpoints"][bob.key]
        alice.start()
        time.sleep(rng.uniform(0.2, 1.2))
    lab.until_connected(alice, bob, within=10)
    result = pings.stop()
    assert not result.lost, str(result)
    assert alice.handshake(bob) == handshake
    assert not said(alice, "set aside")
