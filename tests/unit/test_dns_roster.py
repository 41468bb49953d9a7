"""What the DNS said over time, on a virtual clock: when it is asked again, and what no bad answer undoes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address
from random import Random

import pytest

from tests.unit.test_dns_zone import key_record
from wgautomesh.dnsmesh.kept import Kept, from_state, to_state
from wgautomesh.dnsmesh.roster import EARLY, RETRY_FIRST, RETRY_MOST, TTL_LEAST, TTL_MOST, Roster
from wgautomesh.dnsmesh.zone import Answer, Host, HostAnswers, Zone
from wgautomesh.values import Endpoint, Key

MESH = "_p2p.example.com"
KNOCK = 5.0  # s after which WireGuard tries a handshake again (REKEY_TIMEOUT)
A, B, C = "a.example.com", "b.example.com", "c.friends.example.net"
NUMBER = {A: 1, B: 2, C: 3}


def key(number: int) -> Key:
    return Key(bytes([number]) * 32)


def host(name: str, *, number: int | None = None, ttl: int = 100, address: str | None = None) -> HostAnswers:
    number = number or NUMBER[name]
    return HostAnswers(
        keys=Answer((key_record(key(number)),), ttl),
        allowed=Answer((ip_address(address or f"10.14.0.{number}"),), ttl),
        addresses=Answer((ip_address(f"44.128.0.{number}"),), ttl),
    )


def zone(*names: str, ttl: int = 100, also: Iterable[bytes] = (), **changed: HostAnswers) -> Zone:
    """A zone that names these. `changed` has other answers for one, by the first letter of its name."""
    texts = (*(name.encode() for name in names), *also)
    hosts = {name: changed.get(name[0], host(name, ttl=ttl)) for name in names}
    return Zone(Answer(texts, ttl if texts else None), hosts)


def roster(kept: Kept | None = None) -> Roster:
    return Roster(MESH, 51820, rng=Random(1), now=0.0, kept=kept)


def keys(of: Roster) -> dict[str, Key]:
    return {name: host.key for name, host in of.hosts.items()}


FAILED = Zone(Answer(error="no answer from 10.0.0.53:53"))
EMPTY = Zone(Answer())


@pytest.mark.parametrize(
    ("ttl", "interval"), [(0, TTL_LEAST), (29, TTL_LEAST), (300, 300.0), (999_999, TTL_MOST)]
)
def test_it_is_asked_again_after_the_clamped_ttl_or_a_little_earlier(ttl: int, interval: float) -> None:
    dues = set()
    for seed in range(20):
        it = Roster(MESH, 51820, rng=Random(seed), now=0.0)
        assert it.take(zone(A, B, ttl=ttl), 50.0) == []
        dues.add(it.due - 50.0)
    least, most = EARLY
    assert all((1 - most) * interval <= due <= (1 - least) * interval for due in dues)
    assert len(dues) > 10
    assert max(dues) + KNOCK <= interval + 2, "whoever is added is in within its TTL and 2 s"


def test_members_come_and_go_with_the_zone() -> None:
    it = roster()
    assert it.due == 0.0
    it.take(zone(A, B), 0.0)
    assert keys(it) == {A: key(1), B: key(2)}
    it.take(zone(A, B, C), 100.0)
    it.take(zone(A, C), 200.0)
    assert keys(it) == {A: key(1), C: key(3)}


@pytest.mark.parametrize(
    "broken",
    [
        replace(host(B), keys=Answer(error="SERVFAIL")),
        replace(host(B), keys=Answer((b"\xff",), 30)),
        replace(host(B), keys=Answer((b"no key",), 30)),
        replace(host(B), allowed=Answer(error="no answer from 10.0.0.53:53")),
        HostAnswers(),
    ],
)
def test_a_member_whose_records_break_stays_as_it_was_and_all_others_follow_the_zone(
    broken: HostAnswers,
) -> None:
    it = roster()
    it.take(zone(A, B), 0.0)
    before = it.hosts[B]
    complaints = it.take(zone(A, B, C, b=broken), 100.0)
    assert it.hosts[B] == before and keys(it).keys() == {A, B, C}
    assert complaints and all(
        each.text.startswith(f"{B}: ") and "stays as it was" in each.text for each in complaints
    )
    assert it.take(zone(A, B, C, b=broken), 200.0) == complaints  # the very same: said once
    assert it.take(zone(A, B, C), 300.0) == []


def test_a_member_that_never_was_right_is_left_out() -> None:
    it = roster()
    (complaint,) = it.take(zone(A, B, b=replace(host(B), keys=Answer())), 0.0)
    assert keys(it).keys() == {A} and "left out" in complaint.text


def test_nobody_is_removed_while_a_name_cannot_be_read() -> None:
    it = roster()
    it.take(zone(A, B), 0.0)
    (complaint,) = it.take(zone(A, also=[b"\xff\xfe"]), 100.0)
    assert keys(it).keys() == {A, B} and "not UTF-8" in complaint.text
    it.take(zone(A), 200.0)
    assert keys(it).keys() == {A}


def test_without_an_answer_everybody_stays_and_it_is_asked_again_more_and_more_seldom() -> None:
    it = roster()
    it.take(zone(A, B), 0.0)
    now, waits = 0.0, []
    texts = set()
    for _ in range(12):
        now = it.due
        texts |= {each.text for each in it.take(FAILED, now)}
        waits.append(it.due - now)
    assert keys(it).keys() == {A, B} and len(texts) == 1
    assert waits[0] <= RETRY_FIRST and waits[:6] == sorted(waits[:6]) and max(waits) <= RETRY_MOST
    assert sum(waits) > 3 * RETRY_MOST
    it.take(zone(A), now)
    assert keys(it).keys() == {A}


def test_what_was_wrong_is_not_forgotten_while_nothing_newer_is_known() -> None:
    it = roster()
    (before,) = it.take(zone(A, B, b=replace(host(B), keys=Answer((b"no key",), 30))), 0.0)
    assert before in it.take(FAILED, 30.0)
    assert before in it.take(EMPTY, 40.0)


def test_a_question_without_an_answer_is_asked_again_before_the_ttl() -> None:
    it = roster()
    it.take(zone(A, B, ttl=3000, b=replace(host(B, ttl=3000), keys=Answer(error="SERVFAIL"))), 0.0)
    assert it.due <= RETRY_FIRST
    it.take(zone(A, B, ttl=3000), 10.0)
    assert it.due > 2000.0


def test_when_the_network_changes_a_failure_is_no_reason_to_wait() -> None:
    it = roster()
    for now in (0.0, 5.0, 15.0, 35.0):
        it.take(FAILED, now)
    it.hurry(36.0)
    assert it.due == 35.0 + RETRY_FIRST
    it.take(zone(A), 40.0)
    due = it.due
    it.hurry(41.0)
    assert it.due == due


def test_an_empty_answer_removes_nobody_until_a_second_one_a_ttl_later() -> None:
    it = roster()
    it.take(zone(A, B), 0.0)
    (first,) = it.take(EMPTY, 95.0)
    assert keys(it).keys() == {A, B} and "names nobody any more" in first.text
    assert it.due == 195.0
    assert it.take(EMPTY, 150.0) == [first]  # asked too early: says nothing
    assert keys(it).keys() == {A, B} and it.due == 195.0
    it.take(EMPTY, 195.0)
    assert keys(it) == {}


def test_an_empty_answer_between_good_ones_does_nothing() -> None:
    it = roster()
    it.take(zone(A, B), 0.0)
    for start in (100.0, 400.0):
        it.take(EMPTY, start)
        it.take(zone(A, B), start + 100)
    assert keys(it).keys() == {A, B}


def test_what_an_earlier_run_knew_is_there_at_once_and_survives_an_accident() -> None:
    before = roster()
    before.take(zone(A, B, ttl=50), 0.0)
    kept = from_state(to_state(before.keep()))
    assert kept == before.keep()
    it = roster(kept)
    assert it.hosts == before.hosts and not it.answered
    it.take(FAILED, 0.0)
    it.take(EMPTY, 10.0)
    assert keys(it).keys() == {A, B} and it.due == 60.0
    other = Roster("_p2p.other.example", 51820, rng=Random(1), now=0.0, kept=kept)
    assert other.hosts == {}


def test_a_zone_of_somebody_else_takes_over_neither_address_nor_key() -> None:
    thief = host(C, address="10.14.0.1")
    it = roster()
    it.take(zone(A, C), 0.0)
    (complaint,) = it.take(zone(C, A, c=thief), 100.0)
    assert it.hosts[A].addresses == (ip_address("10.14.0.1"),)
    assert it.hosts[C].addresses == (ip_address("10.14.0.3"),)  # as it was
    assert A in complaint.text and "10.14.0.1" in complaint.text
    fresh = roster()
    fresh.take(zone(C, A, c=thief), 0.0)
    assert fresh.hosts[A].addresses == (ip_address("10.14.0.1"),) and C not in fresh.hosts
    fresh.take(zone(C, A, c=host(C, number=1, address="10.14.0.3")), 0.0)
    assert keys(fresh) == {A: key(1)}


def test_two_members_may_exchange_their_keys() -> None:
    it = roster()
    it.take(zone(A, B), 0.0)
    swapped = zone(A, B, a=host(A, number=2), b=host(B, number=1))
    assert it.take(swapped, 100.0) == []
    assert keys(it) == {A: key(2), B: key(1)}


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"name": MESH, "ttl": 30, "hosts": []},
        {"name": MESH, "ttl": "soon", "hosts": {}},
        {"name": MESH, "ttl": 30, "hosts": {A: {"key": "x", "addresses": ["10.0.0.1"], "endpoints": []}}},
        {"name": MESH, "ttl": 30, "hosts": {A: {"key": "AAAA", "addresses": [], "endpoints": []}}},
    ],
)
def test_a_damaged_state_is_noticed(state: object) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        from_state(state)


def test_hosts_keep_their_endpoints_over_a_restart() -> None:
    endpoints = (Endpoint(ip_address("44.128.0.1"), 51820), Endpoint(ip_address("2001:db8::1"), 7))
    kept = Kept(MESH, 60.0, (Host(A, key(1), (ip_address("10.14.0.1"),), endpoints),))
    assert from_state(to_state(kept)) == kept
