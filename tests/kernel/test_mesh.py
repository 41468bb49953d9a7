"""Whole scenarios on the real module. Outcomes are asserted; times only printed: the machine is emulated."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..lab import topology
from ..lab.lab import Lab
from ..lab.node import Node
from ..lab.topology import Host, Router, Topology
from ..lab.wg import KeyPair
from .conftest import Printed

LabOf = Callable[[Topology], Lab]

WAIT = 60.0  # s after which what was waited for has failed
PRESHARED = "L8Jq3T0Gd0nTg6yrJxgQjYyQ0a2mYh4hJxKbqQ2cO1o="
GUEST_NETWORK = "10.99.0.0/24"
NOBODY = "65534"
NET_ADMIN = 1 << 12  # CAP_NET_ADMIN, linux/capability.h


def reaches(here: Node, there: Node) -> bool:
    return here.ping(there, within=0.5) is not None and there.ping(here, within=0.5) is not None


def until_reached(lab: Lab, here: Node, there: Node) -> float:
    """Wait until both answer the other's pings; the s it took."""
    return lab.until(
        lambda: reaches(here, there),
        within=WAIT,
        what=f"{here.name} and {there.name} answer each other's pings",
        between=(here, there),
    )


def test_nodes_behind_two_nats_meet_and_a_lan_pair_meets_on_its_lan(lab_of: LabOf, printed: Printed) -> None:
    home = Router("home", (Host("carol"), Host("dave")))
    lab = lab_of(Topology((Host("hub"), Router("north", (Host("alice"),)), home)))
    lab.configure()
    lab.start()
    printed("four nodes, from simultaneous start", lab.until_meshed(within=WAIT))
    lab.check_pings()
    paths = {(one.name, other.name): lab.path(one, other) for one, other in lab.pairs()}
    assert paths.pop(("carol", "dave")) == "LAN"
    assert set(paths.values()) == {"direct"}


def test_a_node_whose_routers_public_address_changes_is_found_again(lab_of: LabOf, printed: Printed) -> None:
    lab = lab_of(topology.pair())
    alice, bob = lab["alice"], lab["bob"]
    lab.configure()
    lab.start()
    lab.until_meshed(within=WAIT)
    before = alice.endpoint(bob)
    lab.net.renumber("south")
    printed("reached at the new address", until_reached(lab, alice, bob))
    assert alice.endpoint(bob) not in (None, before)
    assert lab.path(alice, bob) == "direct"


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


def test_a_reborn_node_finds_its_peer_from_the_state_file_alone(lab_of: LabOf, printed: Printed) -> None:
    lab = lab_of(topology.pair())
    alice, bob, hub = lab["alice"], lab["bob"], lab["hub"]
    lab.configure()
    lab.start()
    lab.until_meshed(within=WAIT)
    where = alice.endpoint(bob)
    assert where
    saved = lab.until(
        lambda: alice.state.exists() and where in alice.state.read_text(),
        within=WAIT,
        what="alice has saved where bob is",
    )
    printed("learned endpoint saved", saved)
    hub.stop()
    hub.wg.delete()
    alice.kill()
    alice.recreate_interface()
    lab.net.flush_nat("north")  # or bob's own packets would still get in through the old mapping
    alice.start()
    printed("found from the state file", until_reached(lab, alice, bob))


def test_an_interface_deleted_and_made_anew_is_back_in_the_mesh(lab_of: LabOf, printed: Printed) -> None:
    lab = lab_of(topology.pair())
    alice = lab["alice"]
    lab.configure()
    lab.start()
    lab.until_meshed(within=WAIT)
    alice.wg.delete()
    lab.until(lambda: alice.says("is gone"), within=WAIT, what="alice notices that its interface is gone")
    assert alice.runs()
    alice.wg.create()
    for other in (lab["hub"], lab["bob"]):
        printed(f"{other.name} reached after the interface was made anew", until_reached(lab, alice, other))


def test_an_unprivileged_agent_with_cap_net_admin_alone_does_it_all(lab_of: LabOf, printed: Printed) -> None:
    lab = lab_of(topology.pair())
    alice, bob = lab["alice"], lab["bob"]
    lab.configure()
    lab.folder.chmod(0o755)
    for path in (alice.folder, alice.config):
        os.chown(path, int(NOBODY), int(NOBODY))
    alice.start(
        through=(
            *("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--no-new-privs"),
            *("--inh-caps", "-all,+net_admin", "--ambient-caps", "-all,+net_admin"),
            *("--bounding-set", "-all,+net_admin"),
        )
    )
    lab.start("hub", "bob")
    printed("connected", lab.until_connected(alice, bob, within=WAIT))
    lab.check_pings()
    assert alice.agent
    status = Path("/proc", str(alice.agent.pid), "status").read_text()
    has = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert has["Uid"].split() == [NOBODY] * 4
    assert {int(has[each], 16) for each in ("CapEff", "CapPrm", "CapBnd")} == {NET_ADMIN}
    lab.net.renumber("south")
    printed("reached at the new address", until_reached(lab, alice, bob))
    alice.recreate_interface()
    printed("reached after the interface was made anew", until_reached(lab, alice, bob))
    assert alice.stop() == 0
    assert alice.state.stat().st_uid == int(NOBODY)
