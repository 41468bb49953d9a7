"""The wire: what is encoded comes back, what is malformed raises, what is new is skipped."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgautomesh import messages
from wgautomesh.messages import (
    BUCKETS,
    MAX_AGE,
    MAX_PLAIN,
    MAX_ROUTES,
    WIRE_KINDS,
    Answer,
    Hello,
    Introduce,
    Introduction,
    Malformed,
    Nat,
    Newer,
    Record,
    Records,
    Route,
    Seek,
    Summary,
    batches,
    decode,
    encode,
)
from wgautomesh.values import Endpoint, Key

keys = st.binary(min_size=32, max_size=32).map(Key)
addresses = st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 2**128 - 1).map(IPv6Address)
endpoints = st.builds(Endpoint, addresses, st.integers(0, 65535))
routes = st.builds(Route, st.sampled_from(WIRE_KINDS), endpoints, st.integers(0, MAX_AGE))
records = st.builds(
    Record,
    keys,
    st.integers(0, 2**32 - 1),
    st.sampled_from(Nat),
    st.lists(routes, max_size=MAX_ROUTES).map(tuple),
)
milliseconds = st.integers(0, 1500).map(lambda ms: ms / 1000)
introductions = st.builds(Introduction, keys, st.none() | records, endpoints, milliseconds, milliseconds)
numbers, digests = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
every_message = (
    st.builds(Hello, numbers, digests, st.none() | endpoints)
    | st.builds(Answer, numbers, digests, st.none() | endpoints)
    | st.builds(Records, st.lists(records, max_size=4).map(tuple))
    | st.builds(Summary, st.lists(numbers, min_size=BUCKETS, max_size=BUCKETS).map(tuple), st.booleans())
    | st.builds(Seek, st.lists(keys, max_size=30).map(tuple))
    | st.builds(Introduce, st.lists(introductions, max_size=3).map(tuple))
)


@given(every_message)
def test_what_is_encoded_comes_back(message: messages.Message) -> None:
    assert decode(encode(message)) == message


@pytest.mark.long
@given(st.lists(introductions, max_size=40))
def test_batches_lose_nothing_and_fit_a_datagram(items: list[Introduction]) -> None:
    sent = list(batches(items, Introduce))
    assert [
        each for message in sent if isinstance(message, Introduce) for each in message.introductions
    ] == items
    assert all(len(encode(message)) <= MAX_PLAIN for message in sent)


@given(st.lists(keys, max_size=200))
def test_batches_of_keys_fit_a_datagram_too(items: list[Key]) -> None:
    assert all(len(encode(message)) <= MAX_PLAIN for message in batches(items, Seek))


@given(st.binary(max_size=1300))
def test_noise_is_malformed_or_of_another_version_and_never_anything_else(noise: bytes) -> None:
    with suppress(Malformed, Newer):
        decode(noise)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=40)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from("ndsrbki"), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.integers(0, 6), anything)
def test_well_packed_nonsense_is_malformed_and_never_anything_else(kind: int, body: object) -> None:
    with suppress(Malformed):
        decode(msgpack.packb([messages.MAJOR, kind, body]))


def test_a_newer_major_version_is_named() -> None:
    with pytest.raises(Newer, match="protocol version 2"):
        decode(msgpack.packb([2, 0, {"n": 1, "d": 2}]))


def test_unknown_kinds_fields_and_elements_are_skipped() -> None:
    assert decode(msgpack.packb([1, 99, {"x": 1}])) is None
    assert decode(msgpack.packb([1, 0, {"n": 1, "d": 2, "new": [3]}, "more"])) == Hello(1, 2)
    record = [bytes(32), 7, 9, [[77, b"?", 0], [0, bytes(6), 1, "more"]], "more"]
    assert decode(msgpack.packb([1, 2, {"r": [record]}])) == Records(
        (Record(Key(bytes(32)), 7, Nat.UNKNOWN, (Route(messages.Kind.LAN, Endpoint(IPv4Address(0), 0), 1),)),)
    )


@pytest.mark.parametrize(
    ("version", "other", "newer"),
    [(2, 1, True), (1, 2, False), (0, 2**32 - 1, True), (5, 5, False), (2**31, 0, True), (0, 2**31, False)],
)
def test_versions_are_compared_around_the_circle(version: int, other: int, newer: bool) -> None:
    key = Key(bytes(32))
    assert Record(key, version).newer_than(Record(key, other)) is newer
