"""Books: newest record wins, equal books have equal digests, and comparing finds what differs."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from wgautomesh.book import Book
from wgautomesh.messages import Kind, Record, Route
from wgautomesh.values import Endpoint, Key, parse_endpoint

MEMBERS = [Key(bytes([number]) * 32) for number in range(1, 100)]
some_records = st.lists(st.builds(Record, st.sampled_from(MEMBERS), st.integers(0, 20)), max_size=60)


def book_of(records: list[Record], now: float = 0.0) -> Book:
    book = Book(lambda key: key in MEMBERS)
    for record in records:
        book.put(record, now)
    return book


@given(some_records, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(records: list[Record], rng: Random) -> None:
    shuffled = list(records)
    rng.shuffle(shuffled)
    assert book_of(records).digest == book_of(shuffled).digest


@given(some_records, some_records)
def test_one_exchange_makes_two_books_equal(ours: list[Record], theirs: list[Record]) -> None:
    one, other = book_of(ours), book_of(theirs)
    for_other = one.differing(other.summary(reply=False), 0.0)
    for_one = other.differing(one.summary(reply=False), 0.0)
    for record in for_other:
        other.put(record, 0.0)
    for record in for_one:
        one.put(record, 0.0)
    assert one.digest == other.digest
    assert one.differing(other.summary(reply=False), 0.0) == []


def test_strangers_are_not_kept() -> None:
    book = book_of([])
    assert not book.put(Record(Key(b"x" * 32), 1), 0.0)
    assert list(book) == [] and book.digest == 0


def test_a_dropped_member_leaves_no_trace_in_the_digest() -> None:
    book = book_of([Record(MEMBERS[0], 1)])
    before = book.digest
    book.put(Record(MEMBERS[1], 5), 0.0)
    book.drop(MEMBERS[1])
    assert book.digest == before


def test_ages_grow_while_a_record_is_held() -> None:
    endpoint = parse_endpoint("44.128.1.1:51820")
    assert isinstance(endpoint, Endpoint)
    book = book_of([Record(MEMBERS[0], 1, routes=(Route(Kind.OBSERVED, endpoint, age=5),))], now=100.0)
    aged = book.aged(MEMBERS[0], 130.0)
    assert aged and aged.routes[0].age == 35
