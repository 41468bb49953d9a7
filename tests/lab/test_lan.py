"""Found on the LAN, on real interfaces: whom beacons bring together, and what no beacon can do."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from .conftest import Measured
from .lab import Lab
from .node import REPOSITORY, SECRET, Node
from .test_nasty import meshed
from .topology import Host, Router, Topology, Versions, pair

LabOf = Callable[[Topology], Lab]
STRAYED = (
    4  # s: an agent that waits for a processor may see a late packet take the link along, until a beacon
)
HOME = (Router("home", (Host("carol"), Host("dave"))),)
ONLY_GOSSIP = """
table inet narrow {
  chain input {
  type filter hook input priority filter; policy drop;
  ct state established,related accept
  iifname != "eth0" accept
  udp dport { 1666, 51820 } accept
  meta l4proto { icmp, ipv6-icmp } accept
  }
}
"""


def since_start(one: Node, other: Node) -> float:
    """Seconds from when both agents ran until both had the other: loading Python is not ours to judge."""
    links = [one.link(other), other.link(one)]
    return max(each.at for each in links if each) - max(one.configured_at() or 0, other.configured_at() or 0)


@pytest.mark.parametrize(
    "versions", [Versions.V4, Versions.DUAL, Versions.NONE], ids=["v4", "dual", "link-local"]
)
def test_a_pair_without_a_hub_finds_itself(lab_of: LabOf, measured: Measured, versions: Versions) -> None:
    lab = lab_of(Topology(HOME, versions=versions))
    lab.configure(preset=[])
    lab.start()
    carol, dave = lab["carol"], lab["dave"]
    lab.until_connected(carol, dave, within=10)
    measured("LAN pair from the later start", since_start(carol, dave), bound=1.5)
    assert lab.path(carol, dave) == "LAN"
    assert carol.says("learned from the LAN") or dave.says("learned from the LAN")  # by whose shot it came
    lab.check_pings()


@pytest.mark.parametrize("versions", [Versions.V4, Versions.NONE], ids=["v4", "link-local"])
def test_firewalls_that_let_in_the_gossip_port_alone(
    lab_of: LabOf, measured: Measured, versions: Versions
) -> None:
    lab = lab_of(Topology(HOME, versions=versions))
    lab.configure(preset=[])
    for node in lab.nodes.values():
        node.box.ns.nft(ONLY_GOSSIP)
    lab.start("carol")
    time.sleep(2)  # carol's beacons are over: the two do not help each other by speaking at once
    lab.start("dave")
    carol, dave = lab["carol"], lab["dave"]
    lab.until_connected(carol, dave, within=10)
    measured("LAN pair behind firewalls from the later start", since_start(carol, dave), bound=1.5)


def test_two_meshes_with_one_gossip_port_share_the_hosts(lab_of: LabOf, measured: Measured) -> None:
    lab = lab_of(Topology(HOME))
    one = [lab["carol"], lab["dave"]]
    two = [lab.add("carla", "carol", "10.78.0.1/16"), lab.add("david", "dave", "10.78.0.2/16")]
    for both in (one, two):
        for node in both:
            node.configure(both)
    lab.start()
    for here, there in (one, two):
        lab.until_connected(here, there, within=10)
        measured(f"{here.name} and {there.name}", since_start(here, there), bound=1.5)
        assert here.ping(there, count=3) is not None


def test_devices_are_chosen_by_name_and_pattern_and_a_reload_follows(lab_of: LabOf) -> None:
    lab = lab_of(Topology(HOME))
    carol, dave = lab["carol"], lab["dave"]
    lab.configure(preset=[])
    carol.configure(lab.nodes.values(), lan_interfaces=["wlan*"])
    lab.start()
    lab.until(lambda: carol.configured_at() and dave.configured_at(), within=10, what="both run")
    time.sleep(3)  # dave's beacons have come, and carol does not listen
    assert carol.link(dave) is None
    carol.configure(lab.nodes.values(), lan_interfaces=["eth*"])
    carol.reload()
    lab.until_connected(carol, dave, within=5)


def test_a_host_carried_to_the_same_lan_and_away_again(lab_of: LabOf, measured: Measured) -> None:
    lab = meshed(lab_of(pair(delay=0.025)))
    alice, bob = lab["alice"], lab["bob"]
    for _ in range(2):
        lab.net.move("alice", "south")
        took = lab.until(
            lambda: lab.path(alice, bob) == "LAN" and alice.ping(bob, within=0.2),
            within=20,
            what="they use the LAN",
            between=(alice, bob),
        )
        measured("switched to the LAN", took, bound=3)
        pings = alice.pinging(bob)
        time.sleep(5)
        assert not pings.stop().lost
        lab.net.move("alice", "north")
        took = lab.until(
            lambda: lab.path(alice, bob) == "direct" and alice.ping(bob, within=0.2),
            within=20,
            what="they use the Internet again",
            between=(alice, bob),
        )
        measured("back on the Internet", took, bound=3)
        time.sleep(1)


@pytest.mark.parametrize("delay", [0.0, 0.025, 0.1], ids=["0ms", "25ms", "100ms"])
def test_a_second_network_between_two_is_used_while_it_lasts(
    lab_of: LabOf, measured: Measured, delay: float
) -> None:
    lab = meshed(lab_of(pair(delay=delay)))
    alice, bob = lab["alice"], lab["bob"]
    handshake = alice.handshake(bob)
    pings = alice.pinging(bob)
    time.sleep(1)
    cable = lab.net.cable("alice", "bob")

    def is_used() -> bool:
        return cable.carries(alice.endpoint(bob), "bob") and cable.carries(bob.endpoint(alice), "alice")

    def is_left() -> bool:
        return lab.path(alice, bob) == "direct" and alice.ping(bob, within=0.3) is not None

    between = (alice, bob)
    took = lab.until(is_used, within=20, what="the cable is used", between=between)
    measured("moved to the cable", took, bound=3)
    time.sleep(4)
    lab.until(is_used, within=STRAYED, what="the cable is still used", between=between)
    assert not pings.stop().lost
    assert alice.handshake(bob) == handshake
    cable.break_silently()
    measured("left when silent", lab.until(is_left, within=20, what="left", between=between), bound=3)
    cable.mend()
    lab.until(is_used, within=70, what="the cable is used again", between=between)
    time.sleep(3)
    cable.unplug("alice")
    measured("left when unplugged", lab.until(is_left, within=20, what="left", between=between), bound=3)
    pings = alice.pinging(bob)
    time.sleep(2)
    cable.plug("alice")
    measured("moved back", lab.until(is_used, within=20, what="used again", between=between), bound=3)
    time.sleep(4)
    lab.until(is_used, within=STRAYED, what="the cable is still used", between=between)
    assert not pings.stop().lost


@pytest.mark.parametrize("how", ["replay", "forge", "pretend"])
def test_a_liar_on_the_lan_changes_no_endpoint(lab_of: LabOf, how: str) -> None:
    """Carol was on the LAN, and is gone: what she said there lives on."""
    lab = lab_of(
        Topology(
            (
                Host("hub"),
                Router("home", (Host("carol"), Host("dave"), Host("mallory"))),
                Router("elsewhere", ()),
            ),
            delay=0.01,
        )
    )
    lab.configure()
    names = ("hub", "carol", "dave")
    carol, dave = lab["carol"], lab["dave"]
    secret = (SECRET, base64.b64decode(carol.key).hex()) if how == "pretend" else ()
    liar = lab["mallory"].box.ns.spawn(
        *(sys.executable, "-m", "tests.lab.liar", how, *secret),
        stdin=subprocess.PIPE,
        output=subprocess.PIPE,
        env={"PYTHONPATH": str(REPOSITORY)},
    )
    assert liar.stdin and liar.stdout and liar.stdout.readline() == b"listening\n"
    lab.start(*names)
    lab.until_meshed(*names, within=10)
    lab.net.move("carol", "elsewhere")
    away = str(lab.net.boxes["elsewhere"].address())
    lab.until(lambda: away in (dave.endpoint(carol) or ""), within=20, what="carol is reached elsewhere")
    # While in doubt, dave tries the old place and the new in turn: he has to be sure before the liar begins.
    lab.until(lambda: _state(dave, carol) == ("connected", away), within=20, what="dave is sure of that")
    liar.stdin.write(b"now\n")
    liar.stdin.flush()
    seen = set()
    while liar.poll() is None:
        seen.add(dave.endpoint(carol))
        time.sleep(0.02)
    assert int(liar.stdout.read()) >= 20
    assert len(seen) == 1 and dave.ping(carol, count=3) is not None


def _state(here: Node, there: Node) -> tuple[str, str]:
    """The state of a link by the agent's word, and the address in use."""
    peer = next(each for each in here.status()["peers"] if each["key"] == there.key)
    return peer["state"], (peer["endpoint"] or "").rpartition(":")[0]
