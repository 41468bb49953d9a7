"""What hearsay may have us shoot at: how much, and where never."""

from __future__ import annotations

from ipaddress import IPv4Interface, ip_address, ip_network
from random import Random

import pytest

from wgautomesh.admission import Routing
from wgautomesh.candidates import Candidate
from wgautomesh.effects import Effect, Look, Readd
from wgautomesh.mesh import Mesh, Past
from wgautomesh.messages import Hello, Introduce, Introduction, Kind
from wgautomesh.pursuit import SHOTS_AT_ONCE
from wgautomesh.restraint import (
    MAX_REPORTERS,
    REPORTER_BURST,
    REPORTER_RATE,
    TOTAL_BURST,
    TOTAL_RATE,
    Restraint,
)
from wgautomesh.standpoint import Standpoint, Surroundings
from wgautomesh.values import Device, Endpoint, Key, Member, Peer

VICTIM = Endpoint(ip_address("44.128.66.6"), 443)
LIAR = Key(b"l" * 32)
AWAY = 300  # members that are not there
RUN = 10.0  # s
STEP = 0.25  # s between two lies about each


def hearsay(source: Key | None, *, answered: bool = False) -> Candidate:
    return Candidate(VICTIM, Kind.OBSERVED, 0.0, source, answered=answered)


def test_what_follows_one_members_word_is_limited_and_recovers() -> None:
    restraint = Restraint()
    assert sum(restraint.allows(hearsay(LIAR), 5.0) for _ in range(1000)) == REPORTER_BURST
    assert restraint.allows(hearsay(Key(b"o" * 32)), 5.0)
    assert sum(restraint.allows(hearsay(LIAR), 6.0) for _ in range(1000)) == pytest.approx(
        REPORTER_RATE, abs=1
    )


def test_what_follows_the_words_of_all_is_limited() -> None:
    restraint = Restraint()
    liars = [Key(number.to_bytes(32, "big")) for number in range(2 * MAX_REPORTERS)]
    assert sum(restraint.allows(hearsay(each), 5.0) for each in liars) == pytest.approx(TOTAL_BURST, abs=1)


def test_where_a_member_was_or_what_we_know_ourselves_is_not_limited() -> None:
    restraint = Restraint()
    for _ in range(1000):
        restraint.allows(hearsay(LIAR), 5.0)
    assert restraint.allows(hearsay(None), 5.0)
    assert restraint.allows(hearsay(LIAR, answered=True), 5.0)


def test_a_liar_who_places_hundreds_of_members_at_a_victim_gets_a_trickle() -> None:
    """The core as a whole: one connected member introduces 300 absent ones, again and again."""
    away = [
        Member(Key(number.to_bytes(32, "big")), ip_address(f"10.14.{number % 250}.{2 + number // 250}"))
        for number in range(1, AWAY + 1)
    ]
    liar = Member(LIAR, ip_address("10.14.255.1"))
    mesh = Mesh(Key(b"m" * 32), [liar, *away], rng=Random(1), now=0.0, past=Past())
    at_liar = Endpoint(ip_address("44.128.9.1"), 1)
    peers = {
        each.key: Peer(
            each.key,
            at_liar if each is liar else None,
            None,
            20,
            (ip_network(each.address),),
            int(each is liar),
        )
        for each in (liar, *away)
    }
    now, shots = 0.0, 0
    effects: list[Effect] = [Look()]
    while now < RUN:
        shots += sum(isinstance(each, Readd) and each.peer.endpoint == VICTIM for each in effects)
        effects = mesh.device(Device("wg", 1, mesh.own, None, 51820, peers), now)
        effects += mesh.receive(liar.address, Hello(int(now / STEP), 0), now)
        for each in away:
            effects += mesh.receive(liar.address, Introduce((Introduction(each.key, None, VICTIM),)), now)
        effects += mesh.tick(now)
        now += STEP
    assert REPORTER_BURST < shots <= REPORTER_BURST + RUN * REPORTER_RATE + 1
    assert TOTAL_RATE >= REPORTER_RATE


@pytest.mark.parametrize(
    ("ip", "lan", "refused"),
    [
        ("10.14.0.7", "192.168.1.5/24", True),
        ("10.14.3.7", "10.14.3.5/24", False),  # a LAN inside the mesh's range: the narrower way is taken
        ("10.14.4.7", "10.14.3.5/24", True),
        ("10.14.0.7", "10.14.0.5/16", True),  # as wide as the mesh: nobody can tell which way is taken
        ("10.20.0.7", "192.168.1.5/24", True),  # routed into the tunnel by a member's allowed IPs
        ("10.20.0.7", "10.20.0.5/24", False),
        ("44.128.1.1", "192.168.1.5/24", False),
    ],
)
def test_addresses_inside_the_tunnel_are_refused_unless_on_link_elsewhere(
    ip: str, lan: str, refused: bool
) -> None:
    standpoint = Standpoint()
    standpoint.surroundings = Surroundings((IPv4Interface(lan),), (IPv4Interface("10.14.0.1/16"),))
    routing = Routing([Peer(LIAR, allowed_ips=(ip_network("10.20.0.0/16"),))])
    assert standpoint.refuses(Endpoint(ip_address(ip), 51820), routing) is refused


def test_a_hundred_shots_that_are_due_at_once_leave_in_turns() -> None:
    members = [
        Member(Key(bytes([number]) * 32), ip_address(f"10.77.0.{number}"), (VICTIM,))
        for number in range(1, 101)
    ]
    mesh = Mesh(Key(bytes(32)), members, rng=Random(1), now=0.0, past=Past())
    device = Device("wg0", 1, Key(bytes(32)), None, 51820, {})
    mesh.device(device, 0.0)
    mesh.tick(0.0)
    turns = [
        [each.peer.key for each in mesh.device(device, look / 20) if isinstance(each, Readd)]
        for look in range(4)
    ]
    assert [len(each) for each in turns] == [SHOTS_AT_ONCE] * 3 + [100 - 3 * SHOTS_AT_ONCE]
    assert len({key for turn in turns for key in turn}) == 100
