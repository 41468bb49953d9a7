"""50,000 junk datagrams a second: the mesh forms all the same, and the agent stays small and quiet.

At the gossip port through the tunnel, from one who has a member's key only, and from a member; at the same
port from outside; and on the LAN. The rate is what arrived at the port, not what somebody sent.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address, ip_interface

import msgpack
import pytest
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from wgautomesh.seal import Seal

from .conftest import Measured
from .lab import Lab
from .node import GOSSIP_PORT, REPOSITORY, SECRET, Node
from .topology import Host, Router, Topology

pytestmark = pytest.mark.alone
LabOf = Callable[[Topology], Lab]
RATE = 50_000  # datagrams a second that arrive
SENT = 60_000  # to be sent for that
MEBIBYTE = 2**20
GROWTH = 2.0  # MiB the agent may grow by once it is connected
METRICS = "127.0.0.1:9586"
LINES = 10  # in the log, beyond those of a quiet start
# Failed opens of the longest datagram that one may cost: one, recvfrom(2), its share of a turn of the loop.
OPENS = 3.0
OPENS_OF_A_MEMBER = 1.0  # the system drops what is too much of one member's


def failed_open() -> float:
    """Seconds of CPU that one failed open of the longest datagram costs here and now: the least of five."""
    box, junk, runs = SecretBox(os.urandom(32)), os.urandom(1232), 2000

    def once() -> float:
        began = time.thread_time()
        for _ in range(runs):
            with suppress(CryptoError):
                box.decrypt(junk)
        return (time.thread_time() - began) / runs

    return min(once() for _ in range(5))


def shortcut(sender: Node, receiver: Node) -> str:
    """A device through which what the sender sends comes out of the receiver's WireGuard device, as if it had
    been decrypted there: two userspace WireGuards take both processors from 25,000 packets a second on.
    """
    here, there = "flood0", "flood1"
    if here in sender.box.ns.run("ip", "-o", "link"):
        return here
    sender.box.ns.ip(f"link add {here} type veth peer name {there} netns {receiver.box.ns.name}")
    receiver.box.ns.ip(f"link set {there} up")
    hardware = receiver.box.ns.run("cat", f"/sys/class/net/{there}/address").strip()
    sender.box.ns.ip(
        f"link set {here} up",
        f"route add {ip_interface(receiver.wg.address).network} dev {here} metric 4000",
        f"neighbour add {receiver.address} lladdr {hardware} dev {here}",
    )
    receiver.box.ns.run("tc", "qdisc", "add", "dev", there, "ingress")
    receiver.box.ns.run(
        *("tc", "filter", "add", "dev", there, "parent", "ffff:", "protocol", "ip", "u32", "match", "u32"),
        *("0", "0", "action", "mirred", "ingress", "redirect", "dev", receiver.wg.name),
    )
    return here


class Flood:
    """Junk from one node to an address of another, who is to bear it, until it ends by itself."""

    def __init__(self, sender: Node, to: str, bears: Node, valid: str, *, tunnel: bool) -> None:
        self.bears = bears
        command = [sys.executable, "-m", "tests.lab.flood", to, str(GOSSIP_PORT), str(SENT), valid]
        if tunnel:
            command += [sender.address, shortcut(sender, bears)]
        self._process = sender.box.ns.spawn(
            *command, output=subprocess.PIPE, env={"PYTHONPATH": str(REPOSITORY)}
        )

    def begins(self) -> None:
        """Wait until it is well under way; what is measured is measured from now on."""
        assert self._process.stdout and self._process.stdout.readline().strip() not in (b"", b"0"), (
            "no good one"
        )
        before = self._arrived()
        deadline = time.monotonic() + 20
        while self._arrived() - before < RATE:
            assert time.monotonic() < deadline, "no flood"
            time.sleep(0.05)
        self._before = (time.monotonic(), self._arrived(), self.bears.cpu(), self.bears.memory())
        self._lines = len(self.bears.lines())

    def judge(self, measured: Measured, what: str, lines: int, opens: float = OPENS) -> None:
        """After two more seconds. `lines`: in the log, that a quiet start has as well."""
        began, arrived, cpu, memory = self._before
        time.sleep(max(2.0, 4.0 - (time.monotonic() - began)))
        assert self._process.poll() is None, "the flood ended too soon"
        count, used, passed = self._arrived() - arrived, self.bears.cpu() - cpu, time.monotonic() - began
        grown = (self.bears.memory() - memory) / MEBIBYTE
        open_time = failed_open()
        self._process.kill()
        self._process.communicate()
        rate = count / passed
        measured(f"{what}: thousands a second", rate / 1000, bound=4 * RATE / 1000, unit="k")
        measured(f"{what}: share of a core", used / passed, bound=1.0, unit="")
        measured(f"{what}: failed opens of CPU for each", used / count / open_time, bound=opens, unit="")
        measured(f"{what}: memory grown", grown, bound=GROWTH, unit="MiB")
        measured(
            f"{what}: lines in the log", len(self.bears.lines()) - self._lines - lines, bound=LINES, unit=""
        )
        assert rate >= RATE, f"{what}: only {rate:.0f} a second arrived"

    def _arrived(self) -> int:
        """Datagrams that came so far, taken or dropped; those of WireGuard itself are few beside them."""
        names, counts = (
            line.split()[1:]
            for line in self.bears.box.ns.run("cat", "/proc/net/snmp").splitlines()
            if line.startswith("Udp:")
        )
        udp = dict(zip(names, map(int, counts), strict=True))
        return udp["InDatagrams"] + udp["InErrors"] + udp["NoPorts"]


def since_start(lab: Lab, *names: str) -> float:
    """Seconds from when the last agent ran until all had each other: loading Python is not ours to judge."""
    links = [one.link(other) for pair in lab.pairs(names) for one, other in (pair, pair[::-1])]
    return max(each.at for each in links if each) - max(lab[name].configured_at() or 0 for name in names)


def gossip_sent(node: Node) -> int:
    """Datagrams that the node's agent counts as sent."""
    text = node.box.ns.run("wget", "-q", "-O", "-", f"http://{METRICS}/metrics")
    counts = re.findall(
        r'^wgautomesh_gossip_datagrams_total\{direction="sent".*\} ([0-9.e+]+)$', text, re.MULTILINE
    )
    return sum(int(float(each)) for each in counts)


def sealed_greeting(sender: Node, receiver: Node) -> str:
    """What a member that has the secret may say: hex."""
    way = ip_address(sender.address).packed + ip_address(receiver.address).packed
    return Seal([SECRET], "gossip").seal(msgpack.packb([1, 0, {"n": 1, "d": 1}]), way).hex()


def test_a_flood_through_the_tunnel(lab_of: LabOf, measured: Measured) -> None:
    """At the hub that all others need: junk and what she overhears, from one without the secret, while others
    meet; then good greetings, from a member, while links live."""
    ends = (Router("north", (Host("alice"),)), Router("south", (Host("bob"),)))
    lab = lab_of(Topology((Host("hub"), Host("mallory"), *ends)))
    hub, mallory = lab["hub"], lab["mallory"]
    lab.configure()
    lab.start("hub")
    lab.until(hub.configured_at, within=10, what="the hub is ready")
    mallory.wg.set("peer", hub.key, "allowed-ips", f"{hub.address}/32", "endpoint", hub.public_endpoint())
    flood = Flood(mallory, hub.address, hub, "learn", tunnel=True)
    lab.until(lambda: mallory.ping(hub), within=10, what="mallory is in the tunnel")
    flood.begins()
    lab.start("alice", "bob")
    lab.until_meshed("hub", "alice", "bob", within=20)
    measured("three nodes under a flood", since_start(lab, "hub", "alice", "bob"), bound=6)
    flood.judge(measured, "junk", lines=4, opens=OPENS_OF_A_MEMBER)
    flood = Flood(mallory, hub.address, hub, sealed_greeting(mallory, hub), tunnel=True)
    flood.begins()
    flood.judge(measured, "a member's greetings", lines=1, opens=OPENS_OF_A_MEMBER)
    assert mallory.public_endpoint() and hub.box.v4
    flood = Flood(mallory, str(hub.box.v4.ip), hub, bytes(100).hex(), tunnel=False)
    flood.begins()
    flood.judge(measured, "from outside", lines=0)
    assert since_start(lab, "hub", "alice", "bob") < 6  # none of them had to connect anew
    lab.check_pings("hub", "alice", "bob")


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
    to = str(mallory.box.v4.network.broadcast_address)
    flood = Flood(mallory, to, carol, valid.hex(), tunnel=False)
    flood.begins()
    lab.start("dave")
    lab.until_connected(carol, dave, within=30)
    measured("a LAN pair under a flood", since_start(lab, "carol", "dave"), bound=3)
    flood.judge(measured, "LAN", lines=2)


def test_a_flood_of_changes_to_our_addresses(lab_of: LabOf, measured: Measured) -> None:
    """Whoever sends router advertisements on the LAN gives us addresses and takes them, hundreds a second."""
    lab = lab_of(Topology((Host("hub"), Router("home", (Host("carol"),)), Router("away", (Host("dave"),)))))
    carol = lab["carol"]
    lab.configure(metrics_listen=METRICS)
    lab.start("hub", "carol")
    lab.until_connected(lab["hub"], carol, within=10)
    assert carol.box.v4
    network = carol.box.v4.network
    passing = [f"{network[-number]}/{network.prefixlen} dev eth0" for number in range(2, 12)]
    added, removed = (";".join(f"echo address {do} {each}" for each in passing) for do in ("add", "del"))
    changes = carol.box.ns.spawn(
        "sh",
        "-c",
        f"while :; do {added}; sleep 0.01; {removed}; sleep 0.01; done | ip -batch -",
        output=subprocess.DEVNULL,
    )
    time.sleep(3)  # what may come at once has come
    before, began, told = carol.cpu(), time.monotonic(), len(carol.lines())
    sent = gossip_sent(carol)
    lab.start("dave")
    lab.until_meshed(within=20)
    measured("three nodes while addresses change", since_start(lab, "hub", "carol", "dave"), bound=6)
    time.sleep(5)
    passed = time.monotonic() - began
    assert changes.poll() is None
    measured("share of a core while addresses change", (carol.cpu() - before) / passed, bound=0.3, unit="")
    measured("gossip a second while addresses change", (gossip_sent(carol) - sent) / passed, bound=7, unit="")
    measured("lines in the log", len(carol.lines()) - told - 2, bound=LINES, unit="")
    changes.kill()
    lab.check_pings()
