"""Whole scenarios on the real module. Outcomes are asserted; times only printed: the machine is emulated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..lab import topology
from ..lab.lab import Lab
from ..lab.topology import Topology
from ..lab.wg import KeyPair
from .conftest import NET_ADMIN, NOBODY, ONLY_NET_ADMIN, WAIT, Printed, until_reached

LabOf = Callable[[Topology], Lab]

PRESHARED = "L8Jq3T0Gd0nTg6yrJxgQjYyQ0a2mYh4hJxKbqQ2cO1o="
GUEST_NETWORK = "10.99.0.0/24"


def test_nodes_behind_two_nats_meet_and_a_lan_pair_meets_on_its_lan(mesh: Lab) -> None:
    mesh.check_pings()
    paths = {(one.name, other.name): mesh.path(one, other) for one, other in mesh.pairs()}
    assert paths.pop(("bob", "carol")) == "LAN"
    assert set(paths.values()) == {"direct"}


def test_what_others_gave_the_interface_survives_a_run_and_a_restart(lab_of: LabOf, printed: Printed) -> None:
    lab = lab_of(topology.pair())
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
    # The wrong endpoint makes alice re-add bob: with a preshared key lost, neither would hear the other.
    printed("met in spite of a wrong endpoint", lab.until_connected(alice, bob, within=WAIT))
    lab.check_pings()
    alice.stop()
    alice.start()
    lab.until_connected(alice, bob, within=WAIT)
    peers = alice.wg.peers()
    assert peers[bob.key].preshared
    assert bob.wg.peers()[alice.key].preshared
    assert set(peers[bob.key].allowed) == {f"{bob.address}/32", GUEST_NETWORK}
    after = peers[foreigner]
    kept = ("allowed", "endpoint", "keepalive", "preshared")
    assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]


def test_an_agent_needs_no_privilege_but_cap_net_admin(mesh: Lab) -> None:
    for node in mesh.nodes.values():
        assert node.agent
        status = Path("/proc", str(node.agent.pid), "status").read_text()
        has = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert has["Uid"].split() == [str(NOBODY)] * 4
        assert {int(has[each], 16) for each in ("CapEff", "CapPrm", "CapBnd")} == {NET_ADMIN}
    alice = mesh["alice"]
    assert alice.stop() == 0
    assert alice.state.stat().st_uid == NOBODY
    alice.start(through=ONLY_NET_ADMIN)


def test_a_node_whose_routers_public_address_changes_is_found_again(mesh: Lab, printed: Printed) -> None:
    alice, bob = mesh["alice"], mesh["bob"]
    before = alice.endpoint(bob)
    mesh.net.renumber("south")
    printed("reached at the new address", until_reached(mesh, alice, bob))
    assert alice.endpoint(bob) not in (None, before)
    assert mesh.path(alice, bob) == "direct"


def test_an_interface_deleted_and_made_anew_is_back_in_the_mesh(mesh: Lab, printed: Printed) -> None:
    alice = mesh["alice"]
    alice.wg.delete()
    mesh.until(lambda: alice.says("is gone"), within=WAIT, what="alice notices that its interface is gone")
    assert alice.runs()
    alice.wg.create()
    for other in (mesh["hub"], mesh["bob"]):
        printed(f"{other.name} reached after the interface was made anew", until_reached(mesh, alice, other))


def test_a_reborn_node_finds_its_peer_from_the_state_file_alone(mesh: Lab, printed: Printed) -> None:
    alice, bob, hub = mesh["alice"], mesh["bob"], mesh["hub"]
    where = alice.endpoint(bob)
    assert where
    mesh.until(
        lambda: alice.state.exists() and where in alice.state.read_text(),
        within=WAIT,
        what="alice has saved where bob is",
    )
    hub.stop()
    hub.wg.delete()
    alice.kill()
    alice.recreate_interface()
    mesh.net.flush_nat("north")  # or bob's own packets would still get in through the old mapping
    alice.start(through=ONLY_NET_ADMIN)
    printed("found from the state file", until_reached(mesh, alice, bob))
    hub.wg.create()
    hub.start(through=ONLY_NET_ADMIN)
    for other in (alice, bob, mesh["carol"]):
        until_reached(mesh, hub, other)
