"""50,000 junk datagrams a second: the mesh forms all the same, and the agent stays small and quiet."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import msgpack

from wgautomesh.seal import Seal

from .conftest import Measured
from .lab import Lab
from .node import GOSSIP_PORT, REPOSITORY, SECRET, Node
from .topology import Host, Router, Topology

LabOf = Callable[[Topology], Lab]
RATE = 50_000  # datagrams a second
FLOOD = 12.0  # s
MEBIBYTE = 2**20
GROWTH = 2.0  # MiB the agent may grow by once it is connected
PER_DATAGRAM = 100.0  # µs of CPU for each that was sent, at most: a failed SecretBox open and its reading
LINES = 10  # in the log, beyond those of a quiet start


class Flood:
    """Junk from one node to an address, until it ends by itself. `watched` is who is to bear it."""

    def __init__(self, sender: Node, to: str, source_port: int, watched: Node, valid: bytes) -> None:
        self.watched = watched
        self._before = (watched.cpu(), len(watched.lines()))
        self._process = sender.box.ns.spawn(
            *(sys.executable, "-m", "tests.lab.flood", to, str(GOSSIP_PORT), str(source_port)),
            *(str(RATE), str(FLOOD), valid.hex()),
            output=subprocess.PIPE,
            env={"PYTHONPATH": str(REPOSITORY)},
        )
        time.sleep(1)  # well under way

    def judge(self, measured: Measured, expected_lines: int) -> None:
        time.sleep(1)  # what a new link takes has been taken
        memory = self.watched.memory()
        output, _ = self._process.communicate(timeout=FLOOD + 10)
        sent, seconds = (float(each) for each in output.split())
        cpu, lines = self._before
        measured("sent, thousands a second", sent / seconds / 1000, bound=2 * RATE / 1000, unit="k")
        measured("memory grown", (self.watched.memory() - memory) / MEBIBYTE, bound=GROWTH, unit="MiB")
        measured("CPU for each", (self.watched.cpu() - cpu) / sent * 1e6, bound=PER_DATAGRAM, unit="µs")
        told = len(self.watched.lines()) - lines - expected_lines
        measured("lines in the log", told, bound=LINES, unit="")
        assert sent / seconds > RATE / 10, f"only {sent / seconds:.0f} a second: no flood"


def since_start(lab: Lab, *names: str) -> float:
    """Seconds from when the last agent ran until all had each other: loading Python is not ours to judge."""
    links = [one.link(other) for pair in lab.pairs(names) for one, other in (pair, pair[::-1])]
    return max(each.at for each in links if each) - max(lab[name].configured_at() or 0 for name in names)


def test_a_flood_through_the_tunnel(lab_of: LabOf, measured: Measured) -> None:
    """From a member without the secret, at the hub that all others need."""
    ends = (Router("north", (Host("alice"),)), Router("south", (Host("bob"),)))
    lab = lab_of(Topology((Host("hub"), Host("mallory"), *ends)))
    hub, mallory = lab["hub"], lab["mallory"]
    lab.configure()
    lab.start("hub")
    lab.until(hub.configured_at, within=10, what="the hub is ready")
    mallory.wg.set("peer", hub.key, "allowed-ips", f"{hub.address}/32", "endpoint", hub.public_endpoint())
    lab.until(lambda: mallory.ping(hub), within=10, what="mallory is in the tunnel")
    valid = Seal(["another secret"], "gossip").seal(msgpack.packb([1, 0, {"n": 1, "d": 1}]))
    flood = Flood(mallory, hub.address, GOSSIP_PORT, hub, valid)
    lab.start("alice", "bob")
    lab.until_meshed("hub", "alice", "bob", within=20)
    measured("three nodes under a flood", since_start(lab, "hub", "alice", "bob"), bound=6)
    flood.judge(measured, expected_lines=4)


def test_a_flood_on_the_lan(lab_of: LabOf, measured: Measured) -> None:
    """From a host of the LAN that has heard a beacon, at all of the LAN."""
    lab = lab_of(Topology((Router("home", (Host("carol"), Host("dave"), Host("mallory"))),)))
    carol, dave, mallory = lab["carol"], lab["dave"], lab["mallory"]
    lab.configure(preset=[])
    lab.start("carol")
    lab.until(carol.configured_at, within=10, what="carol is ready")
    beacon = {"k": bytes(32), "a": [bytes(4)], "n": bytes(16)}
    valid = Seal([SECRET], "beacon").seal(msgpack.packb([1, 0, beacon]))
    assert mallory.box.v4
    flood = Flood(mallory, str(mallory.box.v4.network.broadcast_address), 0, carol, valid)
    lab.start("dave")
    lab.until_connected(carol, dave, within=30)
    measured("a LAN pair under a flood", since_start(lab, "carol", "dave"), bound=6)
    flood.judge(measured, expected_lines=2)
