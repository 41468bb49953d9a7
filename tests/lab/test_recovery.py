"""What happens when something breaks: restarts without a hub, interfaces that vanish, bad configuration."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest

from . import topology
from .conftest import Measured
from .lab import Lab
from .shell import run
from .topology import Topology

LabOf = Callable[[Topology], Lab]


@pytest.mark.parametrize("with_state", [True, False], ids=["with-state-file", "without-state-file"])
def test_after_the_hub_is_gone_a_reborn_node_has_only_its_state_file(
    lab_of: LabOf, measured: Measured, with_state: bool
) -> None:
    lab = lab_of(topology.pair())
    alice, bob, hub = lab["alice"], lab["bob"], lab["hub"]
    lab.configure()
    lab.start()
    lab.until_meshed(within=20)
    where = alice.endpoint(bob)
    assert where
    saved = lab.until(
        lambda: alice.state.exists() and where in alice.state.read_text(),
        within=10,
        what="alice has saved where bob is",
    )
    measured("learned endpoint saved", saved, bound=5)
    hub.stop()
    hub.wg.delete()
    alice.kill()
    alice.recreate_interface()
    lab.net.flush_nat("north")  # or bob's own packets would still get in through the old mapping
    if not with_state:
        alice.state.unlink()
    alice.start()
    if with_state:
        measured("found from the state file", lab.until_connected(alice, bob, within=20), bound=5)
        assert alice.ping(bob, count=3) is not None
    else:
        time.sleep(10)
        assert alice.link(bob) is None
        assert alice.ping(bob, count=3) is None
        assert alice.runs()


def test_a_node_with_a_wrong_secret_learns_and_teaches_nothing(lab_of: LabOf) -> None:
    lab = lab_of(topology.demo())
    lab.configure()
    dave = lab["dave"]
    dave.configure(lab.nodes.values(), {"hub": lab["hub"].public_endpoint()}, gossip_secret="not the secret")  # noqa: S106
    lab.start()
    lab.until_meshed("hub", "alice", "bob", "carol", within=20)
    time.sleep(5)
    assert dave.handshake(lab["hub"])  # WireGuard itself lets dave in: only the gossip must not
    for name in ("alice", "bob", "carol"):
        assert dave.endpoint(lab[name]) is None
        assert lab[name].endpoint(dave) is None
    assert lab["hub"].says("another gossip secret")
    assert all(node.runs() for node in lab.nodes.values())


def test_bad_peers_in_the_file_do_not_keep_the_good_ones_from_meeting(lab_of: LabOf) -> None:
    lab = lab_of(topology.pair())
    alice, hub = lab["alice"], lab["hub"]
    lab.configure()
    bad = '\n[[peers]]\nname = "keyless"\npubkey = ""\naddress = "10.77.0.8"\n'
    bad += f'\n[[peers]]\nname = "portless"\npubkey = "{"A" * 42}E="\naddress = "10.77.0.9"\n'
    bad += 'endpoint = "44.128.9.9"\n'
    alice.configure(lab.nodes.values(), {"hub": hub.public_endpoint()}, bad)
    lab.start()
    lab.until_meshed(within=20)
    lab.check_pings()
    errors = [line.text for line in alice.lines() if line.level == "error"]
    assert len(errors) == 2
    assert any("pubkey" in text for text in errors)
    assert any("port" in text for text in errors)


def test_an_interface_missing_at_start_is_waited_for(lab_of: LabOf, measured: Measured) -> None:
    lab = lab_of(topology.pair())
    alice, bob = lab["alice"], lab["bob"]
    lab.configure()
    alice.wg.delete()
    lab.start()
    lab.until_connected(lab["hub"], bob, within=10)
    time.sleep(2)
    assert alice.runs()
    assert sum(alice.wg.name in line.text for line in alice.lines()) == 1  # said once
    alice.wg.create()
    measured("connected after the interface came", lab.until_connected(alice, bob, within=20), bound=5)


def test_an_interface_deleted_and_made_anew_is_back_in_the_mesh(lab_of: LabOf, measured: Measured) -> None:
    lab = lab_of(topology.demo())
    alice = lab["alice"]
    lab.configure()
    lab.start()
    lab.until_meshed(within=20)
    alice.wg.delete()
    time.sleep(2)
    assert alice.runs()
    alice.wg.create()
    took = lab.until(
        lambda: all(
            alice.ping(each, within=0.2) is not None for each in lab.nodes.values() if each is not alice
        ),
        within=30,
        what="alice reaches everyone again",
        between=(alice, lab["bob"]),
    )
    measured("back after the interface was made anew", took, bound=5)
    lab.check_pings()


def test_ages_run_on_the_clock_that_goes_on_while_a_machine_sleeps() -> None:
    # A time namespace moves it as a suspension does: CLOCK_BOOTTIME goes on, CLOCK_MONOTONIC stands.
    asked = [
        sys.executable,
        "-c",
        "from wgautomesh.agent import now; import time; print(now() - time.monotonic())",
    ]
    before = float(run(asked))
    slept = float(run(["unshare", "--time", "--boottime", "86400", *asked]))
    assert abs(slept - before - 86400) < 5
