"""Who tells whom: whose word counts about a member, how often a pair is introduced, how little is said."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wgautomesh import gossip as module
from wgautomesh.common import Common
from wgautomesh.effects import Send
from wgautomesh.gossip import ASKED, COMPARE_EVERY, FANOUT, INTRODUCE_EVERY, SEEK_EVERY, SETTLE, Gossip
from wgautomesh.link import Event, Link
from wgautomesh.messages import (
    Introduce,
    Introduction,
    Kind,
    Message,
    Nat,
    Record,
    Records,
    Route,
    Seek,
    Summary,
)
from wgautomesh.values import Endpoint, Key, Member

OWN = Key(b"o" * 32)
HOME = Endpoint(ip_address("44.128.0.1"), 51820)
ELSEWHERE = Endpoint(ip_address("44.128.9.9"), 51820)
ROUTES = (Route(Kind.OBSERVED, HOME),)


def key_of(number: int) -> Key:
    return Key(bytes([number]) * 32)


class Node:
    """One node's Gossip with links to members 1, 2, 3, …; what it sends is collected."""

    def __init__(self, members: int, *, up: int | None = None, seed: int = 1, own: Key = OWN) -> None:
        common = Common(own, Random(seed))
        self.out, self.links, self.roll = common.out, common.links, common.roll
        for number in range(1, members + 1):
            member = Member(key_of(number), ip_address(f"10.14.0.{number}"))
            link = Link(member, low=False, rng=common.rng, now=0.0, roll=self.roll)
            if number <= (members if up is None else up):
                link.happened(Event.REACHED, 0.0)
                link.endpoint = Endpoint(ip_address(f"44.128.1.{number}"), 51820)
            self.links[member.key] = link
        self.gossip = Gossip(common)

    def link(self, number: int) -> Link:
        return self.links[key_of(number)]

    def sent(self) -> list[tuple[int, Message]]:
        """To which member, and what, since the last call."""
        sent = [(each.member.key[0], each.message) for each in self.out if isinstance(each, Send)]
        self.out.clear()
        return sent

    def own_version(self) -> int:
        record = self.gossip.book.get(OWN)
        assert record
        return record.version

    def announced(self) -> int:
        """Say how we can be reached, as far as nobody hears it; the version of it."""
        self.gossip.announce(Nat.OPEN, ROUTES, 0.0)
        self.out.clear()
        return self.own_version()


def records_in(sent: list[tuple[int, Message]]) -> list[tuple[int, Record]]:
    return [
        (to, record) for to, message in sent if isinstance(message, Records) for record in message.records
    ]


# -- our own record -----------------------------------------------------------------------------------


def test_what_changed_about_us_goes_to_all_who_are_connected() -> None:
    node = Node(4, up=3)
    assert node.gossip.announce(Nat.OPEN, ROUTES, 0.0)
    assert {to for to, _ in records_in(node.sent())} == {1, 2, 3}


def test_saying_the_same_again_costs_nothing() -> None:
    node = Node(3)
    version = node.announced()
    older = (Route(Kind.OBSERVED, HOME, age=99),)  # only confirmed at another time
    assert not node.gossip.announce(Nat.OPEN, older, 5.0)
    assert node.sent() == [] and node.own_version() == version


@pytest.mark.parametrize(
    ("nat", "routes"), [(Nat.STABLE, ROUTES), (Nat.OPEN, ()), (Nat.OPEN, (Route(Kind.MAPPED, HOME),))]
)
def test_each_change_is_a_newer_version(nat: Nat, routes: tuple[Route, ...]) -> None:
    node = Node(1)
    node.announced()
    before = node.gossip.book.get(OWN)
    assert node.gossip.announce(nat, routes, 1.0)
    after = node.gossip.book.get(OWN)
    assert before and after and after.newer_than(before)


@given(st.integers(1, 2**31 - 1), st.integers(0, 2**32 - 1))
def test_a_newer_version_of_our_record_is_outbid_with_what_is_true(ahead: int, seed: int) -> None:
    # From before our restart, or from a liar: it ends the same way.
    node = Node(2, seed=seed)
    lie = Record(OWN, (node.announced() + ahead) % 2**32, Nat.CHANGING, (Route(Kind.OBSERVED, ELSEWHERE),))
    assert node.gossip.receive(node.link(1), [lie], 1.0) == []
    told = records_in(node.sent())
    assert {to for to, _ in told} == {1, 2}
    for _, record in told:
        assert record.newer_than(lie) and record.nat is Nat.OPEN
        assert [route.endpoint for route in record.routes] == [HOME]


@pytest.mark.parametrize("behind", [0, 1, 1000])
def test_an_old_version_of_our_record_is_no_news(behind: int) -> None:
    node = Node(2)
    version = node.announced()
    assert node.gossip.receive(node.link(1), [Record(OWN, (version - behind) % 2**32)], 1.0) == []
    assert node.sent() == [] and node.own_version() == version


@given(st.integers(0, 2**32 - 1))
def test_a_restarted_node_is_believed_whatever_versions_it_had(before: int) -> None:
    # It starts at a random version: half of the time the others hold what looks newer.
    node, other = Node(1), Node(0, own=key_of(1))
    member = Member(OWN, ip_address("10.14.0.9"))
    other.links[OWN] = Link(member, low=True, rng=Random(0), now=0.0, roll=other.roll)
    other.links[OWN].happened(Event.REACHED, 0.0)
    assume((before - node.announced()) % 2**32 != 2**31)  # on the circle neither is newer
    other.gossip.book.put(Record(OWN, before, Nat.CHANGING), 0.0)
    node.gossip.greet(node.link(1), 1.0)
    for _ in range(3):
        other.gossip.receive(other.links[OWN], [each for _, each in records_in(node.sent())], 1.0)
        node.gossip.receive(node.link(1), [each for _, each in records_in(other.sent())], 1.0)
    held = other.gossip.book.get(OWN)
    assert held and held.version == node.own_version()
    assert held.nat is Nat.OPEN or before == held.version  # 1 in 2**32


# -- the records of others ----------------------------------------------------------------------------


def test_news_is_passed_on_to_all_but_its_bearer_and_its_subject() -> None:
    node = Node(4)
    record = Record(key_of(2), 7, Nat.OPEN, ROUTES)
    assert node.gossip.receive(node.link(1), [record], 1.0) == [record]
    assert records_in(node.sent()) == [(3, record), (4, record)]


def test_old_news_is_not_passed_on_and_so_never_goes_round_in_circles() -> None:
    node = Node(4)
    record = Record(key_of(2), 7)
    node.gossip.receive(node.link(1), [record], 1.0)
    node.sent()
    assert node.gossip.receive(node.link(3), [record], 1.0) == []
    assert node.sent() == []


def test_who_brings_an_old_record_is_given_the_newer_one() -> None:
    node = Node(3)
    newer = Record(key_of(2), 7)
    node.gossip.receive(node.link(1), [newer], 1.0)
    node.sent()
    assert node.gossip.receive(node.link(3), [Record(key_of(2), 6)], 1.0) == []
    assert records_in(node.sent()) == [(3, newer)]


def test_news_of_a_stranger_is_dropped() -> None:
    node = Node(3)
    assert node.gossip.receive(node.link(1), [Record(Key(b"x" * 32), 7)], 1.0) == []
    assert node.sent() == [] and list(node.gossip.book) == []


def test_news_goes_to_a_few() -> None:
    node = Node(40)
    node.gossip.announce(Nat.OPEN, ROUTES, 0.0)
    told = [to for to, _ in records_in(node.sent())]
    assert len(told) == len(set(told)) == FANOUT == 6


def test_nothing_is_sent_to_members_without_an_agent() -> None:
    node = Node(3)
    node.link(2).agent = False
    node.gossip.announce(Nat.OPEN, ROUTES, 0.0)
    assert {to for to, _ in node.sent()} == {1, 3}


def test_a_member_that_was_dropped_is_spoken_of_no_more() -> None:
    node = Node(3)
    node.gossip.receive(node.link(1), [Record(key_of(2), 7)], 1.0)
    node.gossip.drop(key_of(2))
    assert key_of(2) not in list(node.gossip.book)


# -- introductions ------------------------------------------------------------------------------------


def introductions(sent: list[tuple[int, Message]]) -> dict[int, list[Introduction]]:
    told: dict[int, list[Introduction]] = {}
    for to, message in sent:
        if isinstance(message, Introduce):
            told.setdefault(to, []).extend(message.introductions)
    return told


def test_both_are_told_in_the_same_moment_where_the_other_is_seen() -> None:
    node = Node(2)
    node.gossip.introduce(node.link(1), [key_of(2)], 0.0)
    told = introductions(node.sent())
    assert [(each.key, each.at) for each in told[1]] == [(key_of(2), node.link(2).endpoint)]
    assert [(each.key, each.at) for each in told[2]] == [(key_of(1), node.link(1).endpoint)]


def test_the_nearer_one_waits_until_the_word_has_reached_the_other() -> None:
    node = Node(2)
    node.link(1).rtt, node.link(2).rtt = 0.1, 0.5
    node.gossip.introduce(node.link(1), [key_of(2)], 0.0)
    told = introductions(node.sent())
    assert [each.rtt for each in (*told[1], *told[2])] == pytest.approx([0.6, 0.6])
    # The word takes 0.05 s to the one and 0.25 s to the other.
    assert 0.05 + told[1][0].wait == pytest.approx(0.25 + told[2][0].wait)
    assert told[2][0].wait == 0.0


def test_a_record_we_do_not_have_is_not_invented() -> None:
    node = Node(2)
    record = Record(key_of(2), 7)
    node.gossip.receive(node.link(2), [record], 0.0)
    node.sent()
    node.gossip.introduce(node.link(1), [key_of(2)], 0.0)
    told = introductions(node.sent())
    assert told[1][0].record == record and told[2][0].record is None


def test_a_pair_is_introduced_once_a_second_whoever_of_them_asks() -> None:
    node = Node(2)
    told = []
    for now in (0.0, 0.1, 0.9, INTRODUCE_EVERY, INTRODUCE_EVERY + 0.5):
        node.gossip.introduce(node.link(1), [key_of(2)] * 3, now)
        node.gossip.introduce(node.link(2), [key_of(1)], now)
        told.append(len(node.sent()))
    assert told == [2, 0, 0, 2, 0]


def test_the_rate_of_one_pair_does_not_hold_up_another() -> None:
    node = Node(3)
    node.gossip.introduce(node.link(1), [key_of(2)], 0.0)
    node.sent()
    node.gossip.introduce(node.link(1), [key_of(2), key_of(3)], 0.1)
    assert {to: [each.key for each in told] for to, told in introductions(node.sent()).items()} == {
        1: [key_of(3)],
        3: [key_of(1)],
    }


def test_pairs_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTRODUCTIONS_KEPT", 5)
    node = Node(30)
    for seeker in range(1, 31):
        node.gossip.introduce(node.link(seeker), list(node.links), 0.0)
    assert len(node.gossip._introduced) == 5
    node.sent()
    # What is remembered is the latest: the rate still holds there.
    node.gossip.introduce(node.link(29), [key_of(30)], 0.1)
    node.gossip.introduce(node.link(30), [key_of(29)], 0.1)
    assert node.sent() == []


def test_the_pair_that_was_introduced_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTRODUCTIONS_KEPT", 2)
    node = Node(3)
    for now, seeker, sought in ((0.0, 1, 2), (0.0, 1, 3), (1.0, 1, 2), (1.0, 2, 3)):
        node.gossip.introduce(node.link(seeker), [key_of(sought)], now)
    node.sent()
    node.gossip.introduce(node.link(1), [key_of(2)], 1.1)
    assert node.sent() == []


def test_nobody_is_introduced_to_a_member_in_doubt_or_down_to_a_stranger_or_to_itself() -> None:
    node = Node(4, up=3)
    node.link(2).misses = 1
    node.link(3).endpoint = None
    node.gossip.introduce(node.link(1), [*node.links, Key(b"x" * 32), OWN], 0.0)
    assert node.sent() == []


def test_many_introductions_share_few_datagrams() -> None:
    node = Node(41)
    node.gossip.introduce(node.link(1), list(node.links), 0.0)
    sent = node.sent()
    told = introductions(sent)
    assert len(told[1]) == 40 and sum(to == 1 for to, _ in sent) <= 6


# -- asking, comparing --------------------------------------------------------------------------------


def test_a_few_are_asked_for_a_missing_member_and_seldom() -> None:
    node = Node(20, up=19)
    asked = []
    for now in (0.0, 0.1, SEEK_EVERY):
        node.gossip.seek(key_of(20), now)
        sent = node.sent()
        assert all(message == Seek((key_of(20),)) for _, message in sent)
        asked.append(len({to for to, _ in sent}))
    assert asked == [ASKED, 0, ASKED]


def test_with_nobody_to_ask_the_first_who_comes_is_asked_at_once() -> None:
    node = Node(2, up=0)
    node.gossip.seek(key_of(2), 0.0)
    assert node.sent() == []
    node.link(1).happened(Event.REACHED, 0.1)
    node.gossip.seek(key_of(2), 0.1)
    assert node.sent() == [(1, Seek((key_of(2),)))]


def test_a_new_neighbour_hears_who_we_are_and_whom_we_miss() -> None:
    node = Node(4, up=2)
    node.announced()
    node.gossip.greet(node.link(1), 0.0)
    sent = node.sent()
    assert [(to, record.key) for to, record in records_in(sent)] == [(1, OWN)]
    assert (1, Seek((key_of(3), key_of(4)))) in sent


def test_equal_books_are_not_compared_and_different_ones_seldom() -> None:
    node = Node(2)
    node.announced()
    digest = node.gossip.book.digest
    node.gossip.compare(node.link(1), digest, SETTLE)
    assert node.sent() == []
    compared = []
    for now in (SETTLE, SETTLE + 0.1, SETTLE + COMPARE_EVERY):
        node.gossip.compare(node.link(1), digest ^ 1, now)
        compared.append([type(message) for _, message in node.sent()])
    assert compared == [[Summary], [], [Summary]]


def test_while_news_is_under_way_different_books_mean_nothing() -> None:
    node = Node(3)
    node.announced()
    node.gossip.compare(node.link(1), 1, 10.0)
    node.gossip.receive(node.link(2), [Record(key_of(3), 7)], 20.0)
    node.sent()
    node.gossip.compare(node.link(1), 1, 20.0 + SETTLE - 0.1)
    assert node.sent() == []
    node.gossip.compare(node.link(1), 1, 20.0 + SETTLE)
    assert [type(message) for _, message in node.sent()] == [Summary]


def test_a_neighbour_that_is_new_or_back_is_compared_with_at_once() -> None:
    node = Node(1)
    for now in (0.0, 0.1):
        node.gossip.announce(Nat(1 + int(now * 10)), ROUTES, now)
        node.sent()
        node.gossip.compare(node.link(1), 1, now)
        assert [type(message) for _, message in node.sent()] == [Summary]
        node.gossip.forget(key_of(1))


def test_two_nodes_that_compare_end_with_the_same_book() -> None:
    one, other = Node(30), Node(30)
    for number in range(1, 31):
        node = one if number % 3 else other
        node.gossip.book.put(Record(key_of(number), number), 0.0)
    one.gossip.book.put(Record(key_of(3), 1), 0.0)  # older than the other's
    link = one.link(1)
    one.gossip.compare(link, other.gossip.book.digest, SETTLE)
    wire = [(other, message) for to, message in one.sent() if to == 1]
    for _ in range(100):
        if not wire:
            break
        target, message = wire.pop(0)
        if isinstance(message, Summary):
            target.gossip.answer_summary(link, message, SETTLE)
        elif isinstance(message, Records):
            target.gossip.receive(link, message.records, SETTLE)
        origin = one if target is other else other
        wire += [(origin, each) for to, each in target.sent() if to == 1]
    assert not wire
    assert one.gossip.book.digest == other.gossip.book.digest
    assert len(list(one.gossip.book)) == 30
