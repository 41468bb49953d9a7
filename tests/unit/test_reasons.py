"""Reasons that need no real parts: tests/lab/test_reasons.py has the table of those that do."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random

import pytest

from tests.world import World, build
from wgautomesh.candidates import Candidate
from wgautomesh.common import Common
from wgautomesh.effects import Effect, Say
from wgautomesh.gossip import Gossip
from wgautomesh.link import Event, Link, State
from wgautomesh.mesh import Mesh, Past
from wgautomesh.messages import BUCKETS, Kind, Nat, Record, Route, Summary
from wgautomesh.reasons import circumstances, reason
from wgautomesh.values import Device, Endpoint, Key, Member, Peer

TWO_CHANGING = {
    "hub": ("44.128.1.1", "none"),
    "second": ("44.128.1.2", "none"),
    "a": ("44.128.2.1", "symmetric"),
    "b": ("44.128.3.1", "symmetric"),
}


@pytest.mark.parametrize(
    ("behind_two_nats", "clock_back", "line"),
    [
        (False, 0.0, "both NATs change ports: map or fix a port on one side"),
        (True, 0.0, "our router's mapping ends at a second NAT: map a port there, or on the other side"),
        (True, 86400.0, "our clock went back by 24 h: others take our handshakes for old ones and drop them"),
    ],
)
def test_our_own_trouble_comes_before_what_the_other_side_could_do(
    behind_two_nats: bool, clock_back: float, line: str
) -> None:
    world = World(1, one_way=0.025)
    build(world, TWO_CHANGING, preset=("hub", "second"))
    for node in world.nodes.values():
        node.start()
    world.run(30)
    a, b = world.nodes["a"], world.nodes["b"]
    assert a.mesh and a.state(b) is State.TRYING
    a.mesh.standpoint.behind_two_nats = behind_two_nats
    a.mesh.standpoint.clock_back = clock_back
    around = circumstances(a.mesh.links, a.mesh.gossip, a.mesh.standpoint, world.now)
    assert reason(a.mesh.links[b.key], around) == line
    assert reason(a.mesh.links[world.nodes["hub"].key], around) == ""


OWN, BOB, CAROL = (Key(letter * 32) for letter in (b"o", b"b", b"c"))


def apart(
    *,
    bob: int = 51820,
    carol: int = 51820,
    here: str = "44.128.2.1",
    connected: bool = True,
    heard: float = 0.0,
) -> str:
    """Why bob, whose NAT has one outer port for all, is not reached; he and carol stand behind 44.128.3.1.

    `bob` is his outer port, `carol` her listen port; `here` our public address; `heard` when carol was, in s.
    """
    common = Common(OWN, Random(1))
    gossip, now = Gossip(common), 1000.0
    for key, public, outer, listens in (
        (OWN, here, 51820, 51820),
        (BOB, "44.128.3.1", bob, 51820),
        (CAROL, "44.128.3.1", 4242, carol),
    ):
        seen, lan = Endpoint(ip_address(public), outer), Endpoint(ip_address("192.168.1.9"), listens)
        routes = (Route(Kind.OBSERVED, seen), Route(Kind.LAN, lan))
        if key != OWN:
            member = Member(key, ip_address("10.14.0.2" if key == BOB else "10.14.0.3"), (), key.decode()[0])
            common.links[key] = Link(member, low=True, rng=common.rng, now=0.0, roll=common.roll)
        gossip.book.put(Record(key, 1, Nat.STABLE, routes), now)
    link, neighbour = common.links[BOB], common.links[CAROL]
    link.candidates.offer(Candidate(Endpoint(ip_address("44.128.3.1"), bob), Kind.OBSERVED, now))
    link.attempt.rounds, link.introduced_at, link.nat = 1, now, Nat.STABLE
    neighbour.introduced_at = heard
    if connected:
        neighbour.happened(Event.REACHED, now)
    return reason(link, circumstances(common.links, gossip, common.standpoint, now))


def test_who_shares_a_place_is_named_only_where_that_may_be_why() -> None:
    firewall = "others reach it, but nothing gets through between us: does a firewall drop UDP?"
    alike = " Or give it and c (10.14.0.3), who share a public address and a listen port, a port each."
    assert apart() == firewall + alike
    assert apart(connected=False, heard=990.0) == firewall + alike
    assert apart(connected=False) == firewall  # she may be gone
    assert apart(carol=51821) == firewall
    assert apart(bob=4343) == firewall  # the router gave him another port than the shared one
    assert apart(here="44.128.3.1") == firewall  # what we send him does not leave the router


def test_another_secret_is_said_though_the_member_was_just_spoken_of() -> None:
    own, member = Key(b"o" * 32), Member(Key(b"m" * 32), ip_address("10.14.0.1"))
    mesh = Mesh(own, [member], rng=Random(1), now=0.0, past=Past())
    peer = Peer(member.key, None, None, 20, member.networks, handshake=1)
    mesh.device(Device("wg0", 1, own, None, 51820, {member.key: peer}), 0.0)

    def said(effects: list[Effect]) -> list[str]:
        return [each.text for each in effects if isinstance(each, Say) and "gossip secret" in each.text]

    assert said(mesh.unreadable(member.address, 100.0))
    mesh.receive(member.address, Summary((0,) * BUCKETS, reply=False), 110.0)  # the right one again
    assert not said(mesh.unreadable(member.address, 120.0))
    assert said(mesh.unreadable(member.address, 170.0))
    assert not said(mesh.unreadable(member.address, 300.0))
