"""The lab is what it says it is: its NATs, its delays and losses, and nothing of it left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from ipaddress import IPv6Network
from pathlib import Path

import pytest

from . import evidence, topology
from .lab import Lab
from .node import REPOSITORY, SECRET, Node
from .shell import NETNS, UAPI, sweep
from .topology import Host, Nat, Router, Topology, Versions
from .wg import KeyPair

LabOf = Callable[[Topology], Lab]


def tunnel(here: Node, there: Node, endpoint: str | None = None) -> None:
    """Make `there` a peer of `here`, as a person would with `wg`."""
    where = ("endpoint", endpoint) if endpoint else ()
    here.wg.set("peer", there.key, "allowed-ips", there.address, *where)


def seen_through(lab: Lab, nat: Nat) -> set[str]:
    """At which endpoints two public hosts see alice, behind a router of this kind."""
    alice, hub, bob = lab["alice"], lab["hub"], lab["bob"]
    for public in (hub, bob):
        tunnel(public, alice)
        tunnel(alice, public, public.public_endpoint())
        assert alice.ping(public, within=2) is not None
    return {endpoint for public in (hub, bob) if (endpoint := public.endpoint(alice))}


@pytest.mark.parametrize("nat", [Nat.PRESERVING, Nat.SYMMETRIC], ids=lambda nat: str(nat.name).lower())
def test_a_symmetric_nat_changes_ports_and_a_preserving_one_does_not(lab_of: LabOf, nat: Nat) -> None:
    lab = lab_of(Topology((Host("hub"), Host("bob"), Router("north", (Host("alice"),), nat))))
    seen = seen_through(lab, nat)
    if nat is Nat.PRESERVING:
        assert seen == {lab["alice"].public_endpoint()}
    else:
        assert len(seen) == 2
        assert lab["alice"].public_endpoint() not in seen


def test_a_nat_lets_nobody_in_unasked_and_does_not_hairpin(lab_of: LabOf) -> None:
    lab = lab_of(topology.demo())
    hub, carol, dave = lab["hub"], lab["carol"], lab["dave"]
    tunnel(hub, carol, carol.public_endpoint())
    tunnel(carol, hub)
    assert hub.ping(carol) is None
    tunnel(carol, dave, dave.public_endpoint())
    tunnel(dave, carol, carol.public_endpoint())
    assert carol.ping(dave) is None
    tunnel(carol, dave, f"{dave.box.address()}:51820")
    assert carol.ping(dave, within=6) is not None


def test_nested_nat_reaches_out_under_the_outer_routers_address(lab_of: LabOf) -> None:
    inner = Router("inner", (Host("alice"),))
    lab = lab_of(Topology((Host("hub"), Router("carrier", (inner,)))))
    alice, hub = lab["alice"], lab["hub"]
    tunnel(hub, alice)
    tunnel(alice, hub, hub.public_endpoint())
    assert alice.ping(hub, within=2) is not None
    assert hub.endpoint(alice) == f"{lab.net.boxes['carrier'].address()}:51820"


def test_ipv6_passes_a_router_unchanged_but_only_when_asked_for(lab_of: LabOf) -> None:
    lab = lab_of(
        Topology((Host("hub"), Router("north", (Host("alice"),))), Versions.V6, IPv6Network("fd77::/64"))
    )
    alice, hub = lab["alice"], lab["hub"]
    at = f"[{alice.box.address()}]:51820"
    tunnel(hub, alice, at)
    tunnel(alice, hub)
    assert hub.ping(alice) is None
    tunnel(alice, hub, hub.public_endpoint())
    assert alice.ping(hub, within=6) is not None
    assert hub.endpoint(alice) == at


def test_delay_and_loss_are_what_was_asked_for(lab_of: LabOf) -> None:
    lab = lab_of(topology.pair(delay=0.025))
    alice, hub = lab["alice"], lab["hub"]
    tunnel(hub, alice)
    tunnel(alice, hub, hub.public_endpoint())
    rtt = alice.ping(hub, count=40)  # the best of two seconds, in which the machine has a quiet moment
    assert rtt is not None
    assert 0.050 <= rtt < 0.060
    lab.net.impair(delay=0.0)
    lab.net.impair("alice", drop=0.2)
    pings = alice.pinging(hub, rate=100)
    time.sleep(5)
    result = pings.stop()
    assert 0.12 < len(result.lost) / result.judged < 0.28  # 500 pings: 4.5 standard deviations each way


def test_a_cut_stops_only_the_pair_it_names(lab_of: LabOf) -> None:
    lab = lab_of(Topology((Host("hub"), Host("alice"), Host("bob"))))
    alice = lab["alice"]
    for other in (lab["hub"], lab["bob"]):
        tunnel(other, alice)
        tunnel(alice, other, other.public_endpoint())
        assert alice.ping(other, within=2) is not None
    lab.net.cut("alice", "bob")
    assert alice.ping(lab["bob"]) is None
    assert alice.ping(lab["hub"]) is not None
    lab.net.mend()
    assert alice.ping(lab["bob"]) is not None


def test_a_moved_host_is_on_the_other_lan(lab_of: LabOf) -> None:
    lab = lab_of(topology.demo())
    alice, carol = lab["alice"], lab["carol"]
    lab.net.move("alice", "home")
    tunnel(carol, alice)
    tunnel(alice, carol, f"{carol.box.address()}:51820")
    assert alice.ping(carol, within=2) is not None
    assert lab.path(alice, carol) == "LAN"


def test_evidence_has_everything_but_the_secrets(
    lab_of: LabOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "FAILURES", tmp_path)
    lab = lab_of(topology.pair())
    alice, hub = lab["alice"], lab["hub"]
    preshared = KeyPair.generate().private
    tunnel(alice, hub, hub.public_endpoint())
    alice.wg.set("peer", hub.key, "preshared-key", "/dev/stdin", stdin=preshared)
    lab.configure()
    lab.start("alice")
    lab.until(alice.configured_at, within=10, what="alice's agent has configured WireGuard")
    printed = evidence.keep(lab, "a test", (alice, hub))
    (folder,) = tmp_path.iterdir()
    assert str(folder) in printed
    assert "configured" in printed  # the timeline
    kept = {path.name: path.read_text() for path in folder.iterdir()}
    assert "configured" in kept["alice.agent.log"]
    assert hub.key in kept["alice.wireguard"]
    assert "masquerade" in kept["north.network"]
    assert "dport=51820" in kept["north.network"]
    secrets = [preshared, SECRET, *(node.wg.keys.private for node in lab.nodes.values())]
    assert not [name for name, text in kept.items() if any(secret in text for secret in secrets)]


def left_of(pid: int) -> list[str]:
    """Namespaces, sockets and folders that bear this process's mark."""
    patterns = (
        (NETNS, f"wgam-{pid}-*"),
        (UAPI, f"wg{pid}-*"),
        (Path(tempfile.gettempdir()), f"wgam-{pid}-*"),
    )
    return [str(path) for folder, pattern in patterns for path in folder.glob(pattern)]


@pytest.mark.alone
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name
)
@pytest.mark.parametrize("after", [0.1, 0.8, 2.0])
def test_an_interrupted_run_leaves_nothing_behind(number: signal.Signals, after: float) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "tests.lab.demo"],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 10
    while not left_of(demo.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left_of(demo.pid), "the demo made nothing that could be left behind"
    time.sleep(after)
    assert demo.poll() is None, "the demo ended before it could be interrupted"
    demo.send_signal(number)
    demo.wait(15)
    if number is signal.SIGKILL:
        assert left_of(demo.pid)  # nobody can tidy up then: the next run does
        sweep()
    assert not left_of(demo.pid)
    assert not [*_processes_with(f"wg{demo.pid}-"), *_processes_with(f"wgam-{demo.pid}-")]


def test_a_dead_run_s_last_command_is_ended_before_it_makes_more() -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    words = ["ip", "-batch", "-", f"wgam-{dead.pid}-0-x"]  # works for as long as its input is open
    with subprocess.Popen(words, stdin=subprocess.PIPE) as last:
        while b"wgam" not in Path(f"/proc/{last.pid}/cmdline").read_bytes():
            time.sleep(0.01)
        sweep()
        assert last.wait(5) == -signal.SIGKILL


def _processes_with(text: str) -> list[str]:
    """Command lines of live processes that mention `text`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in words and int(path.parent.name) != os.getpid():
            found.append(words)
    return found
