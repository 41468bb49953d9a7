"""What the agent must leave alone: preshared keys, other people's peers, sessions across a restart."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from . import topology
from .conftest import Measured
from .lab import Lab
from .topology import Topology
from .wg import KeyPair

LabOf = Callable[[Topology], Lab]
PRESHARED = "L8Jq3T0Gd0nTg6yrJxgQjYyQ0a2mYh4hJxKbqQ2cO1o="
GUEST_NETWORK = "10.99.0.0/24"


def test_preshared_key_extra_allowed_ips_and_a_foreign_peer_survive_a_run(lab_of: LabOf) -> None:
    lab = lab_of(topology.pair(delay=0.025))
    alice, bob = lab["alice"], lab["bob"]
    foreigner = KeyPair.generate().public
    alice.wg.set(
        *("peer", bob.key, "preshared-key", "/dev/stdin", "endpoint", "44.128.99.1:51820"),
        *("allowed-ips", f"{bob.address}/32,{GUEST_NETWORK}"),
        stdin=PRESHARED,
    )
    bob.wg.set(
        *("peer", alice.key, "preshared-key", "/dev/stdin", "allowed-ips", f"{alice.address}/32"),
        stdin=PRESHARED,
    )
    alice.wg.set(
        *("peer", foreigner, "allowed-ips", "10.88.0.1/32,10.89.0.0/16"),
        *("endpoint", "44.128.98.1:4500", "persistent-keepalive", "7"),
    )
    before = alice.wg.peers()[foreigner]
    lab.configure()
    lab.start()
    lab.until_meshed(within=20)  # a lost preshared key would make the pair deaf to each other
    lab.check_pings()
    alice.stop()
    alice.start()
    lab.until_connected(alice, bob, within=10)
    peers = alice.wg.peers()
    assert peers[bob.key].preshared
    assert bob.wg.peers()[alice.key].preshared
    assert set(peers[bob.key].allowed) == {f"{bob.address}/32", GUEST_NETWORK}
    after = peers[foreigner]
    assert (after.allowed, after.endpoint, after.keepalive) == (
        before.allowed,
        before.endpoint,
        before.keepalive,
    )


def test_a_foreign_peer_that_holds_a_members_address_keeps_it(lab_of: LabOf) -> None:
    lab = lab_of(topology.pair())
    alice, bob, hub = lab["alice"], lab["bob"], lab["hub"]
    foreigner = KeyPair.generate().public
    alice.wg.set("peer", foreigner, "allowed-ips", f"{bob.address}/32")
    lab.configure()
    lab.start()
    lab.until_connected(alice, hub, within=10)
    lab.until_connected(bob, hub, within=10)
    time.sleep(3)  # long enough for alice to have been introduced to bob, and to give in
    peers = alice.wg.peers()
    assert peers[foreigner].allowed == (f"{bob.address}/32",)
    assert bob.key not in peers or f"{bob.address}/32" not in peers[bob.key].allowed
    assert bob.key[:10] in alice.output() or "bob (" in alice.output()
    assert foreigner[:10] in alice.output()
    assert alice.link(bob) is None


def test_restarting_the_agent_loses_no_ping_and_leaves_sessions_alone(
    lab_of: LabOf, measured: Measured
) -> None:
    lab = lab_of(topology.pair())
    alice, bob, hub = lab["alice"], lab["bob"], lab["hub"]
    lab.configure()
    lab.start()
    lab.until_meshed(within=20)
    handshakes = {node.name: alice.handshake(node) for node in (bob, hub)}
    there, back = alice.pinging(bob), bob.pinging(alice)
    time.sleep(1)
    alice.stop()
    time.sleep(1)
    alice.start()
    lab.until_connected(alice, bob, within=10)
    time.sleep(3)
    lost = len(there.stop().lost) + len(back.stop().lost)
    measured("pings lost at 10/s each way over a restart", lost, bound=0, unit="")
    assert {node.name: alice.handshake(node) for node in (bob, hub)} == handshakes


def test_a_member_deleted_from_the_file_while_stopped_is_gone_at_start(
    lab_of: LabOf, measured: Measured
) -> None:
    lab = lab_of(topology.pair())
    alice, bob, hub = lab["alice"], lab["bob"], lab["hub"]
    foreigner = KeyPair.generate().public
    alice.wg.set("peer", foreigner, "allowed-ips", "10.88.0.1/32")
    lab.configure()
    lab.start()
    lab.until_meshed(within=20)
    alice.stop()
    assert bob.key in alice.wg.peers()  # stopping leaves peers where they are
    alice.configure([hub, alice], {"hub": hub.public_endpoint()})
    alice.start()
    lab.until(lambda: bob.key not in alice.wg.peers(), within=10, what="bob is gone", between=(alice, bob))
    gone = time.time()
    lab.until(alice.configured_at, within=10, what="alice has configured her interface")
    measured("a deleted member is gone after the start", gone - (alice.configured_at() or 0), bound=1)
    assert set(alice.wg.peers()) == {hub.key, foreigner}


def test_a_second_agent_on_the_interface_refuses_and_names_the_holder(lab_of: LabOf) -> None:
    lab = lab_of(topology.pair())
    alice = lab["alice"]
    lab.configure()
    lab.start("alice")
    lab.until(alice.configured_at, within=10, what="alice's agent has configured WireGuard")
    code, output = alice.run_another()
    assert code == 1
    assert alice.agent is not None
    assert str(alice.agent.pid) in output
    assert len(output.strip().splitlines()) == 1
    assert alice.runs()


def test_without_permission_one_line_says_what_is_missing(lab_of: LabOf) -> None:
    lab = lab_of(topology.pair())
    alice = lab["alice"]
    alice.configure(lab.nodes.values(), persist_file=None)
    alice.config.chmod(0o644)
    # Reading is allowed everywhere, so that the interpreter is found wherever it lives; writing nowhere.
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    reads = ("--inh-caps", "-all,+dac_read_search", "--ambient-caps", "-all,+dac_read_search")
    lab.folder.chmod(0o755)
    code, output = alice.run_another(*nobody, *reads, "--bounding-set", "-all,+dac_read_search")
    assert code == 1
    assert "Traceback" not in output
    lines = [
        line for line in output.strip().splitlines() if "error" in line or "CAP" in line or "owner" in line
    ]
    assert len(lines) == 1, output
    assert ("CAP_NET_ADMIN" if lab.kernel else "root") in lines[0]
    assert os.geteuid() == 0
