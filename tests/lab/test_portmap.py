"""Ports that routers open: by miniupnpd, in every way it knows, and with its moods; and by one that lies."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from wgautomesh.client import ask
from wgautomesh.portmap.igd import MEMORY_LIMIT, TIME_LIMIT

from .conftest import Measured
from .gateway import Gateway
from .lab import Lab
from .node import Node
from .test_nasty import healed
from .topology import Host, Maps, Nat, Router, Topology, Versions

LabOf = Callable[[Topology], Lab]

WAYS = [Maps.ALL, Maps.PCP, Maps.UPNP]
every_way = pytest.mark.parametrize("maps", WAYS, ids=["all", "nat-pmp-and-pcp", "upnp"])
DEAF = """
table inet deaf { chain out { type filter hook output priority 0;
  ip daddr { 224.0.0.1, 239.255.255.250 } drop;
  ip6 daddr { ff02::1, ff02::c } udp dport { 1900, 5350 } drop; }; }
"""


def apart(maps: Maps | None, delay: float = 0.025, *hosts: Host) -> Topology:
    """Two routers that give every destination a port of its own. Only the one before alice opens any."""
    return Topology(
        (
            Host("hub"),
            Router("north", hosts or (Host("alice"),), Nat.SYMMETRIC, maps=maps),
            Router("south", (Host("bob"),), Nat.SYMMETRIC),
        ),
        delay=delay,
    )


def gateway(lab: Lab, router: str = "north") -> Gateway:
    found = lab.net.boxes[router].gateway
    assert found
    return found


def inner(node: Node) -> str:
    return f"{node.box.address()}:{node.wg.port}"


def mapped(lab: Lab, node: Node, within: float = 5.0) -> float:
    """Wait until the router leads to the node; s it took."""
    opens = gateway(lab)
    what = f"a mapping to {node.name}"
    return lab.until(
        lambda: inner(node) in opens.forwarded().values(), within=within, what=what, between=(node,)
    )


def joined(lab_of: LabOf, maps: Maps) -> Lab:
    """Alice and bob, connected through the mapping."""
    lab = lab_of(apart(maps))
    lab.configure()
    lab.start()
    lab.until_meshed(within=15)
    time.sleep(2)
    return lab


@every_way
@pytest.mark.parametrize("delay", [0.0, 0.025, 0.1], ids=["0ms", "25ms", "100ms"])
def test_two_changing_nats_meet_through_a_mapping(
    lab_of: LabOf, measured: Measured, maps: Maps, delay: float
) -> None:
    lab = lab_of(apart(maps, delay))
    lab.configure()
    lab.start()
    lab.until_running()
    mapped(lab, lab["alice"])
    took = lab.until_connected(lab["alice"], lab["bob"], within=10)
    measured("through the mapping, after it exists", took, bound=3)
    lab.check_pings()


# miniupnpd has one switch for PCP and NAT-PMP. A datagram's first byte is the version: 2 is PCP (RFC 6887).
NO_PCP = """
table inet old { chain in { type filter hook input priority raw; udp dport 5351 @th,64,8 2 drop; }; }
"""


def test_a_router_that_knows_nat_pmp_alone_is_spoken_to_in_that(lab_of: LabOf, measured: Measured) -> None:
    lab = lab_of(apart(Maps.PCP))
    lab.net.boxes["north"].ns.nft(NO_PCP)
    lab.configure()
    lab.start()
    lab.until_running()
    mapped(lab, lab["alice"])
    took = lab.until_connected(lab["alice"], lab["bob"], within=10)
    measured("through the mapping, after it exists", took, bound=3)
    assert "NAT-PMP" in ask(lab["alice"].control, {"ask": "status"})["mapping"]
    lab["alice"].stop()
    lab.until(lambda: not gateway(lab).forwarded(), within=5, what="the mapping is gone")


@every_way
def test_a_pair_that_gave_up_meets_when_the_router_begins_to_open_ports(
    lab_of: LabOf, measured: Measured, maps: Maps
) -> None:
    lab = lab_of(apart(maps))
    gateway(lab).stop()
    lab.configure()
    lab.start()
    time.sleep(25)
    assert lab["alice"].link(lab["bob"]) is None
    gateway(lab).start()
    measured("the mapping, after the router announced itself", mapped(lab, lab["alice"], within=20), bound=10)
    took = lab.until_connected(lab["alice"], lab["bob"], within=10)
    measured("through the mapping, after it exists", took, bound=3)


@every_way
def test_a_stopped_agent_leaves_no_mapping(lab_of: LabOf, measured: Measured, maps: Maps) -> None:
    lab = joined(lab_of, maps)
    begin = time.monotonic()
    lab["alice"].stop()
    lab.until(lambda: not gateway(lab).forwarded(), within=5, what="the mapping is gone")
    measured("mapping gone, after the signal to stop", time.monotonic() - begin, bound=1)


def test_a_reload_opens_and_closes(lab_of: LabOf) -> None:
    lab = joined(lab_of, Maps.UPNP)
    alice, opens = lab["alice"], gateway(lab)
    preset = {"hub": lab["hub"].public_endpoint()}
    for wish, expected in ((None, set()), (40000, {40000}), (51820, {51820})):
        alice.configure(lab.nodes.values(), preset, upnp_forward_external_port=wish)
        alice.reload()
        lab.until(partial(opens_only, opens, expected), within=5, what=f"what is wished: {wish}")


def opens_only(opens: Gateway, ports: set[int]) -> bool:
    return opens.forwarded().keys() == ports


@every_way
@pytest.mark.parametrize("announces", [True, False], ids=["announced", "unannounced"])
def test_a_router_that_starts_empty_is_asked_again(
    lab_of: LabOf, measured: Measured, maps: Maps, announces: bool
) -> None:
    lab = joined(lab_of, maps)
    alice, bob, opens = lab["alice"], lab["bob"], gateway(lab)
    opens.stop()
    opens.forget()
    lab.net.flush_nat("north")
    time.sleep(3)
    if not announces:
        lab.net.boxes["north"].ns.nft(DEAF)
    opens.start()
    bound = 10 if announces else 60
    took = mapped(lab, alice, within=bound + 20)
    measured("the mapping is back", took, bound=bound)
    took += lab.until(healed(lab, alice, bob), within=20, what="the pair is back", between=(alice, bob))
    measured("the pair is back", took, bound=bound)


@every_way
def test_a_firewall_that_knows_only_flows_does_not_keep_us_from_asking(lab_of: LabOf, maps: Maps) -> None:
    lab = lab_of(apart(maps, 0.025, Host("alice", firewall=True)))
    lab.configure()
    lab.start()
    mapped(lab, lab["alice"])


# A router that answers only searches by multicast, and from another port than it was asked at.
ODD_SEARCH = """
table ip odd {
  chain in { type filter hook input priority raw; ip daddr 192.168.0.0/16 udp dport 1900 drop; }
  chain out { type nat hook postrouting priority srcnat; udp sport 1900 snat to :1901; }
}
"""


@pytest.mark.parametrize("firewall", [True, False], ids=["firewall", "no-firewall"])
def test_where_a_firewall_drops_what_only_upnp_would_say_the_log_names_the_packets(
    lab_of: LabOf, firewall: bool
) -> None:
    lab = lab_of(apart(Maps.UPNP, 0.025, Host("alice", firewall=firewall)))
    lab.net.boxes["north"].ns.nft(ODD_SEARCH)
    lab.configure()
    lab.start()
    alice, router = lab["alice"], lab.net.boxes["north"].lan
    assert router and router.v4
    if not firewall:
        mapped(lab, alice, within=10)
        return
    words = f"a firewall on this node drops its answers: UDP from {router.v4[1]}"
    lab.until(lambda: alice.says(words), within=25, what="the log says what was missed", between=(alice,))
    assert not gateway(lab).forwarded()


@every_way
def test_a_taken_port_is_said_and_any_other_is_used_on_request(lab_of: LabOf, maps: Maps) -> None:
    lab = lab_of(apart(maps, 0.025, Host("alice"), Host("anna")))
    alice, anna, opens = lab["alice"], lab["anna"], gateway(lab)
    lab.configure(upnp_forward_external_port=51820)
    lab.start("hub", "alice")
    mapped(lab, alice)
    lab.start("anna")
    words = "is taken"
    lab.until(lambda: anna.says(words), within=25, what="the log says that it is taken", between=(anna,))
    assert opens.forwarded() == {51820: inner(alice)}
    anna.configure(lab.nodes.values(), upnp_forward_external_port=0)
    anna.reload()
    mapped(lab, anna, within=5)
    assert opens.forwarded()[51820] == inner(alice)


@every_way
def test_a_router_behind_another_nat_is_said_and_not_announced(lab_of: LabOf, maps: Maps) -> None:
    carrier = Router("carrier", (Router("north", (Host("alice"),), maps=maps),))
    lab = lab_of(Topology((Host("hub"), carrier), delay=0.025))
    lab.configure()
    lab.start()
    alice = lab["alice"]
    lab.until(
        lambda: alice.says("does another NAT stand before it?"),
        within=25,
        what="the log says so",
        between=(alice,),
    )
    assert "leads here" not in alice.output()


def test_an_ipv6_pinhole_lets_strangers_in(lab_of: LabOf, measured: Measured) -> None:
    topology = Topology(
        (Host("hub"), Host("stranger"), Router("north", (Host("alice"),), maps=Maps.PCP)),
        versions=Versions.DUAL,
        delay=0.025,
    )
    lab = lab_of(topology)
    lab.configure()
    alice, opens = lab["alice"], gateway(lab)
    v6 = alice.box.v6
    assert v6
    alice.box.ns.nft(
        "table ip6 count { counter strange { }; chain in { type filter hook input priority 0; "
        f"udp dport {alice.wg.port} udp sport 9 counter name strange; }}; }}"
    )

    def knock() -> int:
        """Packets from the stranger that came through so far, after one more."""
        code = "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(('::', 9)); "
        code += f"s.sendto(b'knock', ('{v6.ip}', {alice.wg.port}))"
        lab.net.boxes["stranger"].ns.run(sys.executable, "-c", code)
        time.sleep(0.1)
        listing = alice.box.ns.run("nft", "list", "counter", "ip6", "count", "strange")
        return int(listing.partition("packets ")[2].split()[0])

    assert knock() == 0
    lab.start()
    wanted = (IPv6Address(v6.ip), alice.wg.port)
    took = lab.until(lambda: wanted in opens.pinholes(), within=5, what="the pinhole", between=(alice,))
    measured("pinhole, from the start", took, bound=3)
    lab.until(lambda: knock() > 0, within=5, what="the stranger's packet comes in")
    alice.stop()
    lab.until(lambda: not opens.pinholes(), within=1, what="the pinhole is gone")


# -- a gateway that lies ------------------------------------------------------------------------------


@contextmanager
def hostile(lab: Lab, router: str, mode: str) -> Iterator[None]:
    box = lab.net.boxes[router]
    assert box.lan and box.lan.v4
    address = str(box.lan.v4[box.lan.gateway])
    program = str(Path(__file__).with_name("hostile.py"))
    with (lab.folder / "hostile.log").open("wb") as log:
        process = box.ns.spawn(sys.executable, "-IS", program, mode, address, output=log)
    try:
        yield
        assert process.poll() is None, (lab.folder / "hostile.log").read_text()
    finally:
        process.kill()
        process.wait()


def helpers(node: Node) -> dict[int, int]:
    """Resident bytes of the agent's UPnP programs, by process id."""
    found = {}
    for pid in node.box.ns.pids():
        folder = Path("/proc", str(pid))
        try:
            command, status = (folder / "cmdline").read_bytes(), (folder / "status").read_text()
        except OSError:
            continue
        if b"wgautomesh.portmap.igd" in command and "VmRSS:" in status:
            found[pid] = int(status.partition("VmRSS:")[2].split()[0]) * 1024
    return found


@pytest.mark.parametrize("mode", ["malformed", "slow", "endless"])
def test_a_hostile_gateway_costs_nothing(lab_of: LabOf, measured: Measured, mode: str) -> None:
    lab = lab_of(Topology((Host("hub"), Router("north", (Host("alice"),))), delay=0.025))
    lab.configure(upnp_forward_external_port=0)
    hub, alice = lab["hub"], lab["alice"]
    with hostile(lab, "north", mode):
        lab.start()
        lab.until_connected(hub, alice, within=10)
        link, configured = alice.link(hub), alice.configured_at()
        assert link and configured
        measured("connected, after the interface was configured", link.at - configured, bound=3)
        slowest, largest, seen, started = 0.0, 0, set[int](), time.monotonic()
        settled = None  # memory, CPU and time then; the helper may run before, and only then
        while time.monotonic() - started < 2 + TIME_LIMIT + 15:
            if settled is None and time.monotonic() - started > 2:
                settled = alice.memory(), alice.cpu(), time.monotonic()
            asked = time.monotonic()
            ask(alice.control, {"ask": "status"})
            slowest = max(slowest, time.monotonic() - asked)
            running = helpers(alice)
            seen |= running.keys()
            largest = max([largest, *running.values()])
            time.sleep(0.1)
        assert settled
        memory, cpu, begin = settled
        share = (alice.cpu() - cpu) / (time.monotonic() - begin)
        measured("more memory in the agent", (alice.memory() - memory) / 2**20, bound=1, unit="MiB")
        measured("longest wait for an answer of the agent", slowest, bound=0.5)
        measured("CPU of the agent, of one core", 100 * share, bound=5, unit="%")
        if mode != "malformed":  # where the helper is done sooner than one looks
            assert seen
            measured("memory of the helper", largest / 2**20, bound=MEMORY_LIMIT / 2**20, unit="MiB")
        lines = [each for each in alice.lines() if "port mapping" in each.text]
        assert len(lines) == 1 and "UPnP: " in lines[0].text, "\n".join(str(each) for each in lines)
        assert "silent" not in alice.output()
    begin = time.monotonic()
    alice.stop()
    measured("stopped", time.monotonic() - begin, bound=3)
    assert not helpers(alice)
