"""Candidates: what is refused, what is kept, and what is tried first."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface, ip_address
from random import Random

import pytest

from wgautomesh.candidates import MAX_CANDIDATES, MAX_PER_SOURCE, Candidate, Candidates, refusal
from wgautomesh.mesh import Mesh, Past
from wgautomesh.messages import Kind
from wgautomesh.values import Device, Endpoint, Key, Member, Peer, parse_endpoint

ALICE, BOB = Key(b"a" * 32), Key(b"b" * 32)
OWN = (IPv4Interface("192.168.1.5/24"), IPv4Interface("44.128.1.1/24"))


def at(text: str) -> Endpoint:
    endpoint = parse_endpoint(text)
    assert isinstance(endpoint, Endpoint)
    return endpoint


def candidate(
    text: str, kind: Kind = Kind.OBSERVED, confirmed: float = 0.0, source: Key | None = ALICE
) -> Candidate:
    return Candidate(at(text), kind, confirmed, source)


@pytest.mark.parametrize(
    ("ip", "words"),
    [
        ("224.0.0.1", "not the address of a host"),
        ("ff02::1", "not the address of a host"),
        ("127.0.0.1", "not the address of a host"),
        ("::1", "not the address of a host"),
        ("0.0.0.0", "not the address of a host"),
        ("255.255.255.255", "not the address of a host"),
        ("::ffff:44.128.2.1", "IPv4 written as IPv6"),
        ("192.168.1.5", "our own address"),
        ("192.168.1.255", "a broadcast address"),
    ],
)
def test_endpoints_that_can_be_nobodys_are_refused(ip: str, words: str) -> None:
    assert refusal(Endpoint(ip_address(ip), 51820), OWN) == words


def test_port_zero_is_refused_and_a_public_address_is_not() -> None:
    assert refusal(Endpoint(ip_address("44.128.2.1"), 0), OWN) == "port 0"
    assert refusal(at("44.128.2.1:51820"), OWN) is None


def test_link_local_is_nobodys_without_its_link_and_ours_only_on_our_link() -> None:
    own = (IPv6Interface("fe80::5%3/64"),)
    assert refusal(at("[fe80::1]:51820"), own) == "link-local, and nobody knows on which link"
    assert refusal(at("[fe80::5%3]:51820"), own) == "our own address"
    assert refusal(at("[fe80::5%4]:51820"), own) is None
    assert refusal(at("[fe80::1%3]:51820"), own) is None


def test_a_scope_that_wireguard_lost_is_put_back() -> None:
    candidates = Candidates()
    candidates.offer(candidate("[fe80::1%3]:51820"))
    assert candidates.scoped(at("[fe80::1]:51820")) == at("[fe80::1%3]:51820")
    assert candidates.scoped(at("[fe80::1]:51821")) == at("[fe80::1]:51821")
    assert candidates.scoped(at("44.128.2.1:51820")) == at("44.128.2.1:51820")


def test_it_is_put_back_once_it_is_known_though_wireguard_shows_nothing_new() -> None:
    member, own = Member(Key(b"m" * 32), ip_address("10.14.0.1")), Key(b"o" * 32)
    mesh = Mesh(own, [member], rng=Random(1), now=0.0, past=Past())
    peer = Peer(member.key, at("[fe80::1]:51820"), None, 20, member.networks)
    device = Device("wg0", 1, own, None, 51820, {member.key: peer})
    mesh.device(device, 1.0)
    mesh.found_on_lan(member.key, at("[fe80::1%3]:51820"), 2.0)
    mesh.device(device, 3.0)
    assert mesh.links[member.key].endpoint == at("[fe80::1%3]:51820")


def test_a_liar_cannot_crowd_out_what_others_say() -> None:
    candidates = Candidates()
    candidates.offer(candidate("44.128.2.1:1", source=BOB, confirmed=1.0))
    for port in range(100, 200):
        candidates.offer(candidate(f"44.128.9.9:{port}", confirmed=50.0 + port, source=ALICE))
    assert candidates.get(at("44.128.2.1:1"))
    assert sum(each.source == ALICE for each in candidates) == MAX_PER_SOURCE


def test_candidates_are_bounded_and_what_worked_stays() -> None:
    candidates = Candidates()
    candidates.confirm(at("44.128.2.1:1"), 1.0)
    for number in range(100):
        candidates.offer(
            candidate(f"44.128.9.9:{number + 1}", confirmed=100.0 + number, source=Key(bytes([number]) * 32))
        )
    assert len(candidates) <= MAX_CANDIDATES
    assert candidates.get(at("44.128.2.1:1"))


def test_old_news_is_no_news() -> None:
    candidates = Candidates()
    assert candidates.offer(candidate("44.128.2.1:1"))
    assert not candidates.offer(candidate("44.128.2.1:1", confirmed=5.0))


def test_the_order_is_lan_then_mapped_then_fresh_configured_restored() -> None:
    candidates = Candidates()
    for each in (
        candidate("44.128.2.5:1", Kind.RESTORED, 9.0, None),
        candidate("44.128.2.4:1", Kind.CONFIGURED, 9.0, None),
        candidate("44.128.2.3:1", Kind.MAPPED, 9.0),
        candidate("44.128.2.2:1", Kind.OBSERVED, 1.0),
        candidate("44.128.2.1:1", Kind.OBSERVED, 2.0),
        candidate("192.168.1.9:1", Kind.LAN, 0.0, None),
    ):
        candidates.offer(each)
    order = [str(each.endpoint) for each in candidates.ordered((), ())]
    expected = [
        "192.168.1.9:1",
        "44.128.2.3:1",
        "44.128.2.1:1",
        "44.128.2.2:1",
        "44.128.2.4:1",
        "44.128.2.5:1",
    ]
    assert order == expected


def test_a_private_address_counts_only_behind_the_same_public_one() -> None:
    candidates = Candidates()
    candidates.offer(candidate("192.168.1.9:1", Kind.LAN))
    ours, theirs = ip_address("44.128.2.1"), ip_address("44.128.3.1")
    assert candidates.ordered([ours], [theirs]) == []
    assert [str(each.endpoint) for each in candidates.ordered([ours], [ours])] == ["192.168.1.9:1"]


def test_a_private_address_that_answered_is_tried_again() -> None:
    candidates = Candidates()
    candidates.offer(candidate("192.168.1.9:1", Kind.LAN))
    candidates.confirm(at("192.168.1.9:1"), 5.0)
    assert len(candidates.ordered([ip_address("44.128.2.1")], [])) == 1


def test_what_worked_is_kept_even_if_every_place_is_taken() -> None:
    candidates = Candidates()
    for number in range(40):
        for kind in Kind:
            candidates.offer(candidate(f"44.128.9.{number + 1}:{kind + 1}", kind, float(number), None))
            candidates.offer(candidate(f"44.128.8.{number + 1}:{kind + 1}", kind, float(number), ALICE))
    candidates.confirm(at("44.128.2.1:1"), 100.0)
    found = candidates.get(at("44.128.2.1:1"))
    assert found and found.answered and len(candidates) <= MAX_CANDIDATES


def test_whoever_introduced_an_endpoint_that_worked_cannot_take_it_away() -> None:
    candidates = Candidates()
    candidates.offer(candidate("44.128.2.1:1", source=ALICE))
    candidates.confirm(at("44.128.2.1:1"), 1.0)
    for port in range(2, 20):
        candidates.offer(candidate(f"44.128.9.9:{port}", confirmed=50.0 + port, source=ALICE))
    assert candidates.get(at("44.128.2.1:1"))
