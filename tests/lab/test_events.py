"""What reacting to events is worth, and reloading while packets flow."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from .lab import Expectation, Lab
from .node import Node
from .test_nasty import meshed, since_hub
from .topology import Topology, pair

LabOf = Callable[[Topology], Lab]


@pytest.mark.parametrize("delay", [0.0, 0.025], ids=["0ms", "25ms"])
def test_without_reacting_to_events_the_pair_misses_its_bound(lab_of: LabOf, delay: float) -> None:
    lab = lab_of(pair(delay=delay))
    lab.configure(preset=["hub"])
    for node in lab.nodes.values():
        node.module = "tests.lab.slow_agent"
    lab.start()
    hub, alice, bob = lab["hub"], lab["alice"], lab["bob"]
    for node in (alice, bob):
        lab.until_connected(hub, node, within=20)  # it runs, and is slow only
    try:
        took = since_hub(lab, alice, bob)
    except Expectation:
        took = float("inf")  # not at all within 20 s
    assert hub.runs() and alice.runs() and bob.runs()
    assert took > 1 + 6 * delay


def test_a_reload_adds_removes_and_loses_no_ping(lab_of: LabOf) -> None:
    lab = lab_of(pair(delay=0.025))
    hub, alice, bob = lab["hub"], lab["alice"], lab["bob"]
    endpoint = {"hub": hub.public_endpoint()}
    for node in (hub, alice):
        node.configure((hub, alice), endpoint)
    bob.configure((hub, alice, bob), endpoint)
    lab.start("hub", "alice")
    lab.until_connected(hub, alice, within=10)
    pings = alice.pinging(hub)
    time.sleep(1)
    handshake = alice.handshake(hub)
    lab.start("bob")
    for node in (hub, alice):
        node.configure((hub, alice, bob), endpoint)
        _reload(node)
    lab.until_meshed(within=10)
    for node in (hub, alice):
        node.configure((hub, alice), endpoint)
        _reload(node)
    lab.until(
        lambda: bob.key not in alice.wg.peers() and bob.key not in hub.wg.peers(),
        within=5,
        what="the former member is gone",
        between=(alice, bob),
    )
    assert alice.handshake(hub) == handshake
    assert not pings.stop().lost


def test_a_secret_rolls_over_without_losing_gossip(lab_of: LabOf) -> None:
    lab = lab_of(pair(delay=0.025))
    files = {node.name: node.folder / "secret" for node in lab.nodes.values()}

    def roll(*lines: str) -> None:
        for node in lab.nodes.values():
            files[node.name].write_text("\n".join(lines) + "\n")
            files[node.name].chmod(0o600)
            if node.runs():
                _reload(node)
            time.sleep(0.5)

    endpoint = {"hub": lab["hub"].public_endpoint()}
    for node in lab.nodes.values():
        secret_file = str(files[node.name])
        node.configure(lab.nodes.values(), endpoint, gossip_secret=None, gossip_secret_file=secret_file)
    roll("old secret")
    lab.start()
    lab.until_meshed(within=10)
    alice, bob = lab["alice"], lab["bob"]
    handshake = alice.handshake(bob)
    pings = alice.pinging(bob)
    for lines in (("old secret", "new secret"), ("new secret", "old secret"), ("new secret",)):
        roll(*lines)
        time.sleep(5)
    assert not pings.stop().lost
    assert alice.handshake(bob) == handshake
    for node in lab.nodes.values():
        assert not node.says("another gossip secret") and not node.says("silent")


def test_a_broken_new_file_changes_nothing_and_says_why(lab_of: LabOf) -> None:
    lab = meshed(lab_of(pair()))
    alice = lab["alice"]
    alice.config.write_text("interface = \n")
    _reload(alice)
    lab.until(lambda: alice.says("going on as before"), within=5, what="the reason is given")
    assert alice.says("is not TOML")
    lab.check_pings()


def _reload(node: Node) -> None:
    assert node.agent
    node.agent.send_signal(signal.SIGHUP)
