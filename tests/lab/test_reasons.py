"""Why a member is not connected: for each trouble the very line that `wgautomesh status` shows."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

from .lab import Lab
from .node import Node
from .test_nasty import changing, meshed
from .topology import Host, Maps, Nat, Router, Topology
from .wg import KeyPair

LabOf = Callable[[Topology], Lab]
WITHIN = 40.0  # s; a silent member is noticed after 14 s, and then has a round of attempts

WALLED = "others reach it, but nothing gets through between us: does a firewall drop UDP?"
SHARE = (
    "who share a public address and a listen port, a port each."
    " One observer is too few to tell whether a NAT changes ports"
)
# Trouble -> the reason. {at} is where the member's WireGuard is, {address} its address in the mesh.
REASONS = {
    "wrong endpoint": "no answer at {ip}:9, nor do others reach it: a wrong endpoint, or it is down",
    "wrong secret": "it speaks with another gossip secret",
    "both NATs change ports": "both NATs change ports: map or fix a port on one side",
    "peer down": "no answer any more at {at}, nor do others reach it: it seems to be down",
    "firewall drops UDP": WALLED,
    "double NAT mapping": "our router's mapping ends at a second NAT: map a port there, or on the other side",
    "clock far off": "our clock went back by 24 h: others take our handshakes for old ones and drop them",
    "foreign peer": "{address}/32 of {key} is held by the peer {foreign}, which is no member",
    "agent stopped": "reachable, but no agent answers there",
    "no endpoint": "nobody knows an endpoint",
    "unknown name": "nowhere.invalid does not resolve, and nobody knows another endpoint",
    "one port, here": f"{WALLED} Or give us and carol (10.77.0.4), {SHARE}",
    "one port, there": f"{WALLED} Or give it and carol (10.77.0.4), {SHARE}",
    "cut off": "no answer at {at} nor from anybody else: a wrong endpoint, or no UDP gets in or out",
}
FOREIGN = KeyPair.generate().public


def line(trouble: str, of: Node) -> str:
    """The table's line, with what stands for the node's places and keys."""
    at = of.public_endpoint()
    places = {"at": at, "ip": at.rpartition(":")[0], "address": of.address, "key": of.key, "foreign": FOREIGN}
    return REASONS[trouble].format(**places)


def expect(lab: Lab, here: Node, there: Node, trouble: str, within: float = WITHIN) -> None:
    wanted = line(trouble, there)
    lab.until(
        lambda: here.reason(there) == wanted,
        within=within,
        what=f"{trouble}: {wanted}",
        between=(here, there),
    )
    shown = " ".join(here.ask("status", columns=300)[1].split())
    assert wanted in shown


def test_each_trouble_has_its_line(lab_of: LabOf) -> None:
    names = (
        "hub",
        "alice",
        "misled",
        "stranger",
        "walled",
        "held",
        "stopped",
        "unknown",
        "nameless",
        "dying",
    )
    lab = lab_of(Topology(tuple(Host(name) for name in names), delay=0.025))
    hub, alice = lab["hub"], lab["alice"]
    nodes, preset = lab.nodes.values(), {"hub": hub.public_endpoint()}
    for node in nodes:
        node.configure(nodes, preset)
    ip = ip_address(lab["misled"].public_endpoint().rpartition(":")[0])
    alice.configure(nodes, {**preset, "misled": f"{ip}:9", "nameless": "nowhere.invalid:51820"})
    for name in ("misled", "nameless"):
        lab[name].configure(nodes)  # it knows nobody either, and waits
    lab["stranger"].configure(nodes, preset, gossip_secret="another")  # noqa: S106
    alice.wg.set("peer", FOREIGN, "allowed-ips", f"{lab['held'].address}/32")
    walled = lab["walled"].box.ns
    source = alice.public_endpoint().rpartition(":")[0]
    chains = "".join(
        f"chain {hook} {{ type filter hook {hook}put priority 0; ip {side} {source} udp dport != 0 drop; }}; "
        for hook, side in (("in", "saddr"), ("out", "daddr"))
    )
    walled.nft(f"table ip wall {{ {chains} }}")
    lab.start(*(name for name in names if name not in ("unknown", "stopped")))
    lab["stopped"].start()
    lab.until_connected(alice, lab["stopped"], within=20)
    lab.until_connected(alice, lab["dying"], within=20)
    lab["stopped"].stop()
    lab["dying"].kill()
    lab["dying"].wg.delete()
    expect(lab, hub, lab["stranger"], "wrong secret")
    expect(lab, alice, lab["held"], "foreign peer")
    expect(lab, alice, lab["unknown"], "no endpoint")
    expect(lab, alice, lab["nameless"], "unknown name")
    expect(lab, alice, lab["misled"], "wrong endpoint")
    expect(lab, alice, lab["walled"], "firewall drops UDP")
    expect(lab, alice, lab["stopped"], "agent stopped")
    expect(lab, alice, lab["dying"], "peer down", within=60)


def test_two_nats_that_change_ports_have_theirs(lab_of: LabOf) -> None:
    lab = lab_of(changing(Nat.SYMMETRIC, Nat.SYMMETRIC))
    lab.configure(preset=["hub", "second"])
    lab.start()
    expect(lab, lab["alice"], lab["bob"], "both NATs change ports")
    expect(lab, lab["bob"], lab["alice"], "both NATs change ports")


def test_a_mapping_that_ends_at_a_second_nat_has_its_line(lab_of: LabOf) -> None:
    home = Router("home", (Host("alice"),), nat=Nat.SYMMETRIC, maps=Maps.ALL)
    south = Router("south", (Host("bob"),), nat=Nat.SYMMETRIC)
    lab = lab_of(Topology((Host("hub"), Host("second"), Router("carrier", (home,)), south), delay=0.025))
    lab.configure(preset=["hub", "second"], upnp_forward_external_port=0)
    lab.start()
    expect(lab, lab["alice"], lab["bob"], "double NAT mapping")
    assert "is not public" in " ".join(lab["alice"].ask("status")[1].split())


def test_two_behind_one_router_with_one_port_have_theirs(lab_of: LabOf) -> None:
    """The router gives the port to carol for alice and to bob for the hub, by which alice knows him."""
    behind = Router("south", (Host("bob"), Host("carol")))
    lab = lab_of(Topology((Host("hub"), Router("north", (Host("alice"),)), behind), delay=0.025))
    alice, bob, carol = lab["alice"], lab["bob"], lab["carol"]
    north, south = lab.net.boxes["north"], lab.net.boxes["south"]
    south.ns.run(
        *("conntrack", "-I", "-p", "udp", "--timeout", "300"),
        *("-s", str(carol.box.address()), "--sport", "51820", "-d", str(north.address()), "--dport", "51820"),
        *("--src-nat", f"{south.address()}:51820"),
    )
    lab.configure(preset=["hub"], lan_discovery=False)
    lab.start("hub", "alice", "bob")
    lab.until_connected(lab["hub"], bob, within=20)
    lab.start("carol")
    lab.until_connected(alice, carol, within=20)
    expect(lab, alice, bob, "one port, there")
    expect(lab, bob, alice, "one port, here")


def test_a_clock_set_back_and_being_cut_off_have_theirs(lab_of: LabOf) -> None:
    lab = meshed(lab_of(Topology((Host("hub"), Host("alice"), Host("bob")), delay=0.025)))
    alice, bob = lab["alice"], lab["bob"]
    bob.kill()
    bob.wg.delete()
    alice.stop()
    alice.module = "tests.lab.late_agent"
    alice.start()
    expect(lab, alice, bob, "clock far off")
    alice.stop()
    alice.module = "wgautomesh"
    lab.net.pull("alice")
    alice.start()
    expect(lab, alice, bob, "cut off", within=60)
