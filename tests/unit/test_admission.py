"""Every member gets its place on the interface, and nothing of anybody else is touched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgautomesh.admission import KEEPALIVE, Routing, admit
from wgautomesh.effects import Admit, Change, Effect, Remove
from wgautomesh.values import Device, Endpoint, IPNetwork, Key, Member, Peer, key_text

OWN, ALICE, BOB, FOREIGN, FORMER = (Key(letter * 32) for letter in (b"o", b"a", b"b", b"f", b"z"))


def member(key: Key, address: str) -> Member:
    return Member(key, ip_address(address))


def nets(*texts: str) -> tuple[IPNetwork, ...]:
    return tuple(ip_network(text) for text in texts)


def device(*peers: Peer) -> Device:
    return Device("wg0", 7, OWN, listen_port=51820, peers={peer.key: peer for peer in peers})


def carried_out(before: Device, effects: Iterable[Effect]) -> Device:
    """The device afterwards, as WireGuard does it: an allowed IP has one owner, the last to be given it."""
    peers = dict(before.peers)

    def give(key: Key, networks: tuple[IPNetwork, ...]) -> None:
        for other, peer in peers.items():
            left = tuple(each for each in peer.allowed_ips if each not in networks)
            peers[other] = replace(peer, allowed_ips=left)
        peers[key] = replace(peers[key], allowed_ips=peers[key].allowed_ips + networks)

    for effect in effects:
        match effect:
            case Remove(key):
                del peers[key]
            case Admit(new):
                for peer in new:
                    peers[peer.key] = replace(peer, allowed_ips=())
                    give(peer.key, peer.allowed_ips)
            case Change(key, None, keepalive, allowed_ips, replaced):
                if keepalive is not None:
                    peers[key] = replace(peers[key], keepalive=keepalive)
                if replaced:
                    peers[key] = replace(peers[key], allowed_ips=())
                give(key, allowed_ips)
            case _:
                raise AssertionError(f"not asked for: {effect}")
    return replace(before, peers=peers)


def test_a_missing_member_is_made_with_its_address_alone() -> None:
    plan = admit(device(), [member(ALICE, "10.14.0.1"), member(BOB, "fd14::2")], ())
    assert plan.effects == [
        Admit(
            (
                Peer(ALICE, keepalive=KEEPALIVE, allowed_ips=nets("10.14.0.1/32")),
                Peer(BOB, keepalive=KEEPALIVE, allowed_ips=nets("fd14::2/128")),
            )
        )
    ]
    assert plan.made == {ALICE, BOB}


def test_we_are_no_peer_of_ourselves() -> None:
    assert admit(device(), [member(OWN, "10.14.0.9")], ()).effects == []


def test_what_an_existing_member_lacks_is_added_and_the_peer_is_not_ours_to_remove() -> None:
    plan = admit(device(Peer(ALICE, allowed_ips=nets("10.20.0.0/16"))), [member(ALICE, "10.14.0.1")], ())
    assert plan.effects == [Change(ALICE, keepalive=KEEPALIVE, allowed_ips=nets("10.14.0.1/32"))]
    assert plan.made == set()


@pytest.mark.parametrize(
    ("keepalive", "changed"), [(0, KEEPALIVE), (25, KEEPALIVE), (KEEPALIVE, None), (5, None)]
)
def test_a_shorter_keepalive_stays(keepalive: int, changed: int | None) -> None:
    peer = Peer(ALICE, keepalive=keepalive, allowed_ips=nets("10.14.0.1/32"))
    effects = admit(device(peer), [member(ALICE, "10.14.0.1")], ()).effects
    assert effects == ([Change(ALICE, keepalive=changed)] if changed else [])


def test_an_address_held_by_a_foreign_peer_is_not_taken_and_both_keys_are_named() -> None:
    foreign = Peer(FOREIGN, allowed_ips=nets("10.14.0.1/32"))
    plan = admit(device(foreign), [member(ALICE, "10.14.0.1"), member(BOB, "10.14.0.2")], ())
    assert set(plan.blocked) == {ALICE}
    assert key_text(ALICE) in plan.blocked[ALICE] and key_text(FOREIGN) in plan.blocked[ALICE]
    assert [effect.peers[0].key for effect in plan.effects if isinstance(effect, Admit)] == [BOB]


def test_a_foreign_peer_with_a_wide_network_blocks_nobody() -> None:
    foreign = Peer(FOREIGN, allowed_ips=nets("0.0.0.0/0", "10.14.0.0/24"))
    plan = admit(device(foreign), [member(ALICE, "10.14.0.1")], ())
    assert plan.blocked == {} and plan.made == {ALICE}


def test_further_addresses_come_with_the_member_and_go_when_its_source_takes_them_back() -> None:
    alice = Member(ALICE, ip_address("10.14.0.1"), further=(ip_address("10.20.0.1"), ip_address("fd14::1")))
    networks = nets("10.14.0.1/32", "10.20.0.1/32", "fd14::1/128")
    made = admit(device(), [alice], ())
    assert made.effects == [Admit((Peer(ALICE, keepalive=KEEPALIVE, allowed_ips=networks),))]
    own = Peer(ALICE, keepalive=KEEPALIVE, allowed_ips=nets("10.14.0.1/32", "10.99.0.0/24", "10.20.0.1/32"))
    now = Member(ALICE, ip_address("10.14.0.1"), further=(ip_address("10.30.0.1"),))
    plan = admit(device(own), [now], (), {ALICE: nets("10.20.0.1/32")})
    assert plan.effects == [
        Change(ALICE, allowed_ips=nets("10.14.0.1/32", "10.99.0.0/24", "10.30.0.1/32"), replace=True)
    ]
    assert (
        admit(carried_out(device(own), plan.effects), [now], (), {ALICE: nets("10.20.0.1/32")}).effects == []
    )


def test_only_peers_we_made_are_removed_when_they_are_no_members_any_more() -> None:
    before = device(Peer(FORMER), Peer(FOREIGN), Peer(ALICE, keepalive=5, allowed_ips=nets("10.14.0.1/32")))
    plan = admit(before, [member(ALICE, "10.14.0.1")], {FORMER, ALICE, BOB})
    assert plan.effects == [Remove(FORMER)]
    assert plan.gone == {FORMER, BOB}  # Bob's peer was gone already: it only need not be remembered


def test_a_former_members_address_is_free_for_the_next_one() -> None:
    before = device(Peer(FORMER, allowed_ips=nets("10.14.0.1/32")))
    plan = admit(before, [member(ALICE, "10.14.0.1")], {FORMER})
    assert [type(effect) for effect in plan.effects] == [Remove, Admit] and plan.blocked == {}


def test_members_whose_addresses_were_exchanged_get_the_right_ones() -> None:
    before = device(
        Peer(ALICE, keepalive=5, allowed_ips=nets("10.14.0.2/32")),
        Peer(BOB, keepalive=5, allowed_ips=nets("10.14.0.1/32")),
    )
    plan = admit(before, [member(ALICE, "10.14.0.1"), member(BOB, "10.14.0.2")], ())
    after = carried_out(before, plan.effects)
    assert after.peers[ALICE].allowed_ips == nets("10.14.0.1/32")
    assert after.peers[BOB].allowed_ips == nets("10.14.0.2/32")


# -- whatever the device looks like -------------------------------------------------------------------

KEYS = [OWN, ALICE, BOB, FOREIGN, FORMER]
HOSTS = [f"10.14.0.{number}" for number in range(1, 6)]
networks = st.sampled_from([*(f"{host}/32" for host in HOSTS), "10.14.0.0/24", "10.20.0.0/16", "::/0"])


@st.composite
def devices(draw: st.DrawFn) -> Device:
    free = draw(st.lists(networks, unique=True))
    peers = []
    for key in draw(st.lists(st.sampled_from(KEYS[1:]), unique=True)):
        count = draw(st.integers(0, len(free)))
        given, free = free[:count], free[count:]
        endpoint = draw(st.none() | st.just(Endpoint(ip_address("44.128.1.1"), 51820)))
        keepalive, secret = draw(st.integers(0, 60)), draw(st.none() | st.just(b"p" * 32))
        peers.append(Peer(key, endpoint, secret, keepalive, nets(*given)))
    return device(*peers)


@st.composite
def member_lists(draw: st.DrawFn) -> list[Member]:
    keys = draw(st.lists(st.sampled_from(KEYS[:3]), unique=True))
    hosts = draw(st.permutations(HOSTS))
    return [member(key, host) for key, host in zip(keys, hosts, strict=False)]


@given(devices(), member_lists(), st.sets(st.sampled_from([ALICE, BOB, FORMER])))
def test_whatever_the_device_looks_like(before: Device, members: list[Member], made: set[Key]) -> None:
    plan = admit(before, members, made)
    after = carried_out(before, plan.effects)
    belong = {each.key for each in members}

    for key, peer in before.peers.items():
        if key not in belong | made:
            assert after.peers[key] == peer  # foreign, and untouched
        if key in belong:
            mine = {f"{each.address}/32" for each in members if each.key != key}
            kept = {each for each in peer.allowed_ips if str(each) not in mine}
            assert kept <= set(after.peers[key].allowed_ips)
            assert after.peers[key].preshared_key == peer.preshared_key
            assert after.peers[key].endpoint == peer.endpoint
    assert not (set(after.peers) - set(before.peers)) - belong

    routing = Routing(after.peers.values())
    for each in members:
        if each.key != OWN and each.key not in plan.blocked:
            assert routing.owner(each.address) == each.key
            assert 0 < after.peers[each.key].keepalive <= KEEPALIVE
    remembered = (made | plan.made) - plan.gone
    assert admit(after, members, remembered).effects == []  # and then there is nothing more to do


# -- who speaks for an address ------------------------------------------------------------------------


def test_the_narrowest_network_owns_an_address() -> None:
    routing = Routing(
        [
            Peer(FOREIGN, allowed_ips=nets("0.0.0.0/0", "::/0")),
            Peer(ALICE, allowed_ips=nets("10.14.0.0/16", "10.14.0.1/32")),
            Peer(BOB, allowed_ips=nets("10.14.3.0/24", "fd14::/64")),
        ]
    )
    owners = {
        "10.14.0.1": ALICE,
        "10.14.9.9": ALICE,
        "10.14.3.1": BOB,
        "192.0.2.1": FOREIGN,
        "fd14::7": BOB,
        "2001:db8::1": FOREIGN,
    }
    assert {ip: routing.owner(ip_address(ip)) for ip in owners} == owners


def test_nobody_owns_an_address_no_peer_was_given() -> None:
    routing = Routing([Peer(ALICE, allowed_ips=nets("10.14.0.1/32")), Peer(BOB, allowed_ips=nets("::/0"))])
    assert routing.owner(ip_address("10.14.0.2")) is None


def test_a_route_for_everything_can_be_left_out() -> None:
    routing = Routing([Peer(ALICE, allowed_ips=nets("0.0.0.0/1", "10.14.0.0/16"))])
    assert routing.owner(ip_address("1.1.1.1")) == ALICE
    assert routing.owner(ip_address("1.1.1.1"), longer_than=1) is None
    assert routing.owner(ip_address("10.14.0.5"), longer_than=1) == ALICE
