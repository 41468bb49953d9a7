"""A mesh described in DNS, on a real name server with two zones that change while agents run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

from .conftest import Measured
from .lab import Lab
from .nameserver import ADDRESS, TTL, NameServer, host_records, named, node_records
from .node import REPOSITORY, SECRET, Node
from .topology import Host, Router, Topology
from .wg import KeyPair

LabOf = Callable[[Topology], Lab]
MESH = "_p2p.example.com"
ONE, OTHER = "example.com", "friends.example.net"

FOUR = Topology(
    (
        Host("hub"),
        Router("north", (Host("alice"),)),
        Router("south", (Host("bob"),)),
        Router("west", (Host("carol"),)),
    ),
    delay=0.01,
)


def described(lab: Lab) -> NameServer:
    """Hub and alice in one zone, bob in another: all members but carol. Every node asks the name server."""
    server = NameServer(lab.net.trunk, lab.folder)
    hub, alice, bob, carol = (lab[name] for name in ("hub", "alice", "bob", "carol"))
    server.zones = {
        ONE: [
            *named(MESH, [f"hub.{ONE}", f"alice.{ONE}", f"bob.{OTHER}"]),
            *node_records(hub, f"hub.{ONE}", public=True),
            *node_records(alice, f"alice.{ONE}"),
        ],
        OTHER: [*node_records(bob, f"bob.{OTHER}"), *node_records(carol, f"carol.{OTHER}")],
    }
    server.start()
    for node in lab.nodes.values():
        node.configure((), dns_mesh=MESH, resolver=ADDRESS)
    return server


def test_the_zone_alone_makes_the_mesh_and_changes_it(lab_of: LabOf, measured: Measured) -> None:
    lab = lab_of(FOUR)
    server = described(lab)
    others = [lab[name] for name in ("hub", "alice", "bob")]
    lab.start("hub", "alice", "bob")
    measured(
        "three nodes in two zones are a mesh", lab.until_meshed("hub", "alice", "bob", within=10), bound=5
    )
    lab.check_pings("hub", "alice", "bob")
    carol = lab["carol"]
    assert all(carol.key not in node.wg.peers() for node in others)

    one = server.zones[ONE]
    assert one
    one += named(MESH, [carol.alias])
    server.publish()
    begin = time.monotonic()
    carol.start()
    lab.until_meshed(within=TTL + 10)
    measured("a fourth, added to the zone, is meshed by all", time.monotonic() - begin, bound=TTL + 2)
    lab.check_pings()

    one.remove(*named(MESH, [carol.alias]))
    server.publish()
    took = lab.until(
        lambda: all(carol.key not in node.wg.peers() for node in others),
        within=2 * TTL + 5,
        what="carol is gone from all",
    )
    measured("a member removed from the zone is gone from all", took, bound=2 * TTL)
    lab.check_pings("hub", "alice", "bob")


def test_routes_follow_the_allowed_ips_and_leave_others_alone(lab_of: LabOf, measured: Measured) -> None:
    lab = lab_of(Topology((Host("hub"), Router("north", (Host("alice"), Host("dave"))))))
    hub, alice, dave = (lab[name] for name in ("hub", "alice", "dave"))
    server = NameServer(lab.net.trunk, lab.folder)
    lan = str(dave.box.address())  # alice stands in that network, too; hub does not
    extra, theirs = "10.99.7.1", "10.99.7.2"
    for address in (extra, theirs):
        dave.box.ns.ip(f"address add {address}/32 dev lo")
    server.zones = {
        ONE: [
            *named(MESH, [f"hub.{ONE}", f"alice.{ONE}", f"dave.{ONE}"]),
            *node_records(hub, f"hub.{ONE}", public=True),
            *node_records(alice, f"alice.{ONE}"),
            *node_records(dave, f"dave.{ONE}", extra=[extra, theirs, lan]),
        ]
    }
    server.start()
    gateway = alice.box.ns.run("ip", "route", "show", "default").split()[2]
    alice.box.ns.ip(f"route add {theirs} via {gateway} metric 50")
    before = routes(alice)
    for node in lab.nodes.values():
        node.configure((), dns_mesh=MESH, resolver=ADDRESS, routes=True)
    lab.start()
    lab.until_meshed(within=10)
    took = lab.until(
        lambda: f"{extra} dev {alice.wg.name}" in "\n".join(routes(alice)), within=5, what="a route"
    )
    measured("a route for an extra allowed IP after the mesh", took, bound=2)
    (route,) = set(routes(alice)) - set(before)
    assert route.split()[:5] == [extra, "dev", alice.wg.name, "proto", "119"]
    assert any(each.startswith(f"{lan} dev {hub.wg.name}") for each in routes(hub))
    assert lab.path(alice, dave) == "LAN"  # though that address is an allowed IP of dave's
    assert "1 received" in alice.box.ns.run("ping", "-c", "1", "-W", "2", extra)

    zone = server.zones[ONE]
    assert zone
    for address in (extra, theirs):
        zone.remove(f"_wireguard.dave.{ONE}. A {address}")
    server.publish()
    took = lab.until(lambda: routes(alice) == before, within=TTL + 5, what="our route is gone")
    measured("the route is gone with the record", took, bound=TTL + 2)
    assert f"{extra}/32" not in alice.wg.peers()[dave.key].allowed
    hub.configure((), dns_mesh=MESH, resolver=ADDRESS)
    hub.reload()
    lab.until(
        lambda: not any("proto 119" in each for each in routes(hub)), within=5, what="routes are switched off"
    )


def routes(node: Node) -> list[str]:
    """The main table, as `ip` shows it."""
    return [line.strip() for line in node.box.ns.run("ip", "route", "show", "table", "main").splitlines()]


def test_a_node_that_the_zone_lacks_says_what_to_add_and_needs_no_file(lab_of: LabOf) -> None:
    lab = lab_of(Topology((Host("hub"), Router("north", (Host("alice"),))), delay=0.01))
    hub, alice = lab["hub"], lab["alice"]
    server = NameServer(lab.net.trunk, lab.folder)
    zone = [*named(MESH, [f"hub.{ONE}"]), *node_records(hub, f"hub.{ONE}", public=True)]
    server.zones = {ONE: zone}
    server.start()
    hub.configure((), dns_mesh=MESH, resolver=ADDRESS)
    secret = alice.folder / "secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    alice.options = ["--dns-mesh", MESH, "--interface", alice.wg.name, "--resolver", ADDRESS]
    alice.options += ["--gossip-secret-file", str(secret), "--persist-file", str(alice.state)]
    lab.start()
    key_record = f'TXT "{alice.key}"'
    lab.until(lambda: alice.says(key_record), within=10, what="the records to add are shown")
    assert alice.says(f"this node's key is not in {MESH}")
    assert not hub.says("is not in")

    # What is printed for the zone file is what the zone lacked.
    alice.alias = f"alice.{ONE}"
    arguments = ("--name", alice.alias, "--dns-mesh", MESH, "--interface", alice.wg.name)
    printed = alice.box.ns.run(
        *("env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-m", "wgautomesh", "dns-record", *arguments)
    )
    assert key_record in printed
    zone += printed.splitlines()
    server.publish()
    lab.until_meshed(within=TTL + 10)
    lab.check_pings()
    assert alice.output().count(key_record) == 1
    hub_record = f"{hub.alias} ({hub.address}) connected at {hub.public_endpoint()}"
    assert alice.says(hub_record) and "learned from DNS" in alice.output()


def test_the_file_wins_and_members_of_the_own_site_can_stay_unpeered(lab_of: LabOf) -> None:
    lab = lab_of(Topology((Host("hub"), Router("north", (Host("alice"), Host("dave"))))))
    hub, alice, dave = (lab[name] for name in ("hub", "alice", "dave"))
    server = NameServer(lab.net.trunk, lab.folder)
    site = f"north.{ONE}"
    server.zones = {
        ONE: [
            *named(MESH, [f"hub.{ONE}", f"alice.{site}", f"dave.{site}"]),
            *host_records(f"hub.{ONE}", hub.key, ["10.77.0.200"], "44.128.99.1"),  # not what hub is
            *node_records(alice, f"alice.{site}"),
            *node_records(dave, f"dave.{site}"),
        ]
    }
    server.start()
    for node in lab.nodes.values():
        node.configure(
            [hub], {"hub": hub.public_endpoint()}, dns_mesh=MESH, resolver=ADDRESS, direct_sites=True
        )
    lab.start()
    lab.until_meshed("hub", "alice", within=10)
    lab.until_meshed("hub", "dave", within=10)
    for node in (alice, dave):
        conflict = f"DNS gives it as hub.{ONE} (10.77.0.200): the configuration wins"
        lab.until(partial(node.says, conflict), within=10, what="who wins is said")
        assert set(node.wg.peers()) == {hub.key}
        assert node.wg.peers()[hub.key].allowed == (f"{hub.address}/32",)
    assert set(hub.wg.peers()) == {alice.key, dave.key}


def test_without_the_server_nothing_changes_and_a_restarted_node_finds_everyone(
    lab_of: LabOf, measured: Measured
) -> None:
    lab = lab_of(FOUR)
    server = described(lab)
    names = ("hub", "alice", "bob")
    hub, alice, bob = (lab[name] for name in names)
    lab.start(*names)
    lab.until_meshed(*names, within=10)
    pings, handshake = hub.pinging(bob), hub.handshake(bob)
    server.stop()
    lab.until(
        lambda: all("going on with 3 members" in lab[name].output() for name in names),
        within=TTL + 10,
        what="all have noticed that nobody answers",
    )
    alice.stop()
    alice.recreate_interface()  # nothing is left of its peers but what the agent knows
    alice.start()
    took = max(lab.until_connected(alice, other, within=10) for other in (hub, bob))
    measured("a node restarted without DNS has found everyone", took, bound=5)
    lab.check_pings(*names)
    assert not pings.stop().lost
    assert hub.handshake(bob) == handshake
    assert not any(", no more:" in lab[name].output() for name in names)


def test_each_broken_record_is_named_once_and_harms_nobody_else(lab_of: LabOf) -> None:
    lab = lab_of(FOUR)
    server = described(lab)
    one, other = server.zones[ONE], server.zones[OTHER]
    assert one and other
    carol, everybody = lab["carol"], list(lab.nodes.values())
    broken = [f"ghost.{ONE}", f"nokey.{ONE}", f"latin.{ONE}", f"loop.{ONE}", "servfail.broken.example"]
    one += named(MESH, [carol.alias, *broken])
    one += [f'{MESH}. TXT "\\255\\254.{ONE}"', f'{MESH}. TXT "no name"']
    one += host_records(f"nokey.{ONE}", "this is no key", ["10.77.9.1"])
    one += host_records(f"latin.{ONE}", "\\255\\254", ["10.77.9.2"])
    one += host_records(f"loop.{ONE}", KeyPair.generate().public, ["127.0.0.1"])
    server.zones["broken.example"] = None
    server.stop()
    server.start()
    lab.start()
    lab.until_meshed(within=10)
    said_at_start = [
        f"ghost.{ONE}: _wireguard.ghost.{ONE} has no TXT record",
        f"ghost.{ONE}: _wireguard.ghost.{ONE} has no A or AAAA record",
        f'nokey.{ONE}: "this is no key" at _wireguard.nokey.{ONE} is no key',
        f"latin.{ONE}: a TXT record of _wireguard.latin.{ONE} is not UTF-8",
        f"loop.{ONE}: 127.0.0.1 at _wireguard.loop.{ONE} is not an address",
        "servfail.broken.example: no answer about its key, its allowed IPs, its addresses, its port: SERV",
        f"{MESH}: a TXT record is not UTF-8",
        f'{MESH}: "no name" is no host name',
    ]
    pings, handshakes = lab["hub"].pinging(carol), [lab["hub"].handshake(node) for node in everybody[1:]]

    # A member that worked loses its key: it stays as it was. From here on no question fails but when all do.
    one.remove(*named(MESH, ["servfail.broken.example"]))
    key_record = f'_wireguard.{carol.alias}. TXT "{carol.key}"'
    other[other.index(key_record)] = f'_wireguard.{carol.alias}. TXT "lost key"'
    server.publish()
    lost = f'{carol.alias}: "lost key" at _wireguard.{carol.alias} is no key: not base64; it stays as it was'
    until_all_say(lab, lost, within=TTL + 5)

    # The server is there and silent.
    server.fall_silent()
    until_all_say(lab, f"TXT of {MESH}: no answer from {ADDRESS}:53", within=TTL + 15)
    server.speak_again()

    # The list of members is empty by accident.
    names = [line for line in one if line.startswith(f"{MESH}.")]
    server.zones[ONE] = [line for line in one if line not in names]
    server.publish()
    empty = f"{MESH} names nobody any more"
    until_all_say(lab, empty, within=TTL + 15)
    server.zones[ONE] = one
    server.publish()
    time.sleep(TTL + 2)  # all have asked again: whom the accident did not remove by now, it will not
    for text in (*said_at_start, lost, f"no answer from {ADDRESS}:53", empty):
        for node in everybody:
            assert node.output().count(text) == 1, text
    assert not any(", no more:" in node.output() for node in everybody)
    assert [lab["hub"].handshake(node) for node in everybody[1:]] == handshakes
    assert not pings.stop().lost


def until_all_say(lab: Lab, text: str, *, within: float) -> None:
    lab.until(lambda: all(text in node.output() for node in lab.nodes.values()), within=within, what=text)


def test_a_hundred_members_hold_nothing_up(lab_of: LabOf, measured: Measured) -> None:
    lab = lab_of(Topology((Host("hub"), Host("alice"))))
    hub, alice = lab["hub"], lab["alice"]
    server = NameServer(lab.net.trunk, lab.folder)
    absent = [f"node-{number}.{OTHER}" for number in range(98)]
    server.zones = {
        ONE: [
            *named(MESH, [f"hub.{ONE}", f"alice.{ONE}", *absent]),
            *node_records(hub, f"hub.{ONE}", public=True),
            *node_records(alice, f"alice.{ONE}", public=True),
        ],
        OTHER: [
            line
            for number, host in enumerate(absent)
            for line in host_records(host, KeyPair.generate().public, [f"10.77.1.{number}"], port=51821)
        ],
    }
    first_of_all = ("nice", "-n", "-20")  # the load of others is not what we measure
    server.start(through=first_of_all)
    for node in (hub, alice):
        node.configure((), dns_mesh=MESH, resolver=ADDRESS)
    alice.start()
    hub.module = "tests.lab.held_agent"
    hub.start(through=first_of_all, level="debug")
    lab.until(lambda: hub.output().count("asked for") > 1, within=2 * TTL, what="a second refresh")
    time.sleep(1)  # what follows from it is measured, too
    lab.check_pings()
    lines = hub.lines()
    asked = [(line.at, float(line.text.split()[-2])) for line in lines if "asked for" in line.text]
    held = [(line.at, float(line.text.split()[1])) for line in lines if line.text.startswith("held")]
    first, second = asked[0], asked[1]
    measured("a hundred members asked for", max(first[1], second[1]), bound=2)
    ready = hub.configured_at() or 0.0  # before that it has imported, and listed interfaces
    for what, since, until in (
        ("while asking first", ready + 0.05, first[0]),
        ("while a hundred members came", first[0], first[0] + 1),
        ("during another refresh", second[0] - second[1], second[0] + 1),
    ):
        longest = max((ms for at, ms in held if since <= at <= until), default=0.0)
        measured(f"the loop was held {what}", longest, bound=20, unit="ms")
