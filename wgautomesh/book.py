"""The book: the newest record of every member, and digests by which two books are compared.

Pure. The book says what is known and what differs; what to send to whom is decided in `gossip.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .messages import BUCKET_BYTES, BUCKETS, MAX_AGE, Kind, Nat, Record, Route, Summary
from .values import Key

_BUCKET_MASK = 2 ** (8 * BUCKET_BYTES) - 1


@dataclass(frozen=True, slots=True)
class Entry:
    record: Record
    since: float  # s, when it came in: ages grow from there

    def aged(self, now: float) -> Record:
        """The record with its ages as of `now`, fit to be passed on."""
        held = int(now - self.since)
        if held <= 0:
            return self.record
        record = self.record
        routes = (Route(each.kind, each.endpoint, min(each.age + held, MAX_AGE)) for each in record.routes)
        return Record(record.key, record.version, record.nat, tuple(routes))


class Book:
    """Records by member. Only keys that belong get in: what is said of anybody else is not kept."""

    def __init__(self, belongs: Callable[[Key], bool]) -> None:
        self._belongs = belongs
        self.digest = 0  # of all (key, version), 64 bits; equal digests mean equal books
        self._entries: dict[Key, Entry] = {}
        self._buckets = [0] * BUCKETS

    def __iter__(self) -> Iterator[Key]:
        return iter(self._entries)

    def get(self, key: Key) -> Record | None:
        entry = self._entries.get(key)
        return entry.record if entry else None

    def aged(self, key: Key, now: float) -> Record | None:
        entry = self._entries.get(key)
        return entry.aged(now) if entry else None

    def put(self, record: Record, now: float) -> bool:
        """Keep the record if it is a member's and newer than what is held; whether it was."""
        held = self.get(record.key)
        if not self._belongs(record.key) or (held and not record.newer_than(held)):
            return False
        if held:
            self._toggle(held)
        self._entries[record.key] = Entry(record, now)
        self._toggle(record)
        return True

    def drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry:
            self._toggle(entry.record)

    def summary(self, *, reply: bool) -> Summary:
        return Summary(tuple(self._buckets), reply)

    def differing(self, summary: Summary, now: float) -> list[Record]:
        """All our records in those buckets in which the other book differs."""
        pairs = zip(self._buckets, summary.buckets, strict=True)
        buckets = {number for number, (ours, theirs) in enumerate(pairs) if ours != theirs}
        return [entry.aged(now) for key, entry in self._entries.items() if _bucket(key) in buckets]

    def _toggle(self, record: Record) -> None:
        # XOR makes adding and removing the same step, whatever the order records came in. Members who
        # craft collisions hide only their own records.
        text = record.key + record.version.to_bytes(4, "big")
        stamp = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
        self.digest ^= stamp
        self._buckets[_bucket(record.key)] ^= stamp & _BUCKET_MASK


def has_opened_port(record: Record | None) -> bool:
    """Whether the member's router lets everybody in to it."""
    return record is not None and any(route.kind is Kind.MAPPED for route in record.routes)


def seems_to_change_ports(record: Record | None) -> bool:
    """Whether the member's NAT does, or a single observer sees it at another port than it listens on."""
    if record is None:
        return False
    if record.nat is not Nat.UNKNOWN:
        return record.nat is Nat.CHANGING
    outer = {route.endpoint.port for route in record.routes if route.kind is Kind.OBSERVED}
    return bool(outer) and outer.isdisjoint(listen_ports(record))


def listen_ports(record: Record | None) -> set[int]:
    """What the member's WireGuard listens on, by its own word: one port, or none if it tells no address."""
    return {each.endpoint.port for each in record.routes if each.kind is Kind.LAN} if record else set()


def are_kept_apart(one: Record | None, other: Record | None) -> bool:
    """Whether shots of these two can hardly meet, by what is said of their NATs.

    One gives each destination a port of its own, so the other cannot know where to shoot; that helps only
    a member which is open to all, and some NATs that let in whatever comes from a host they sent to.
    """
    if one is None or other is None or has_opened_port(one) or has_opened_port(other):
        return False
    return Nat.CHANGING in (one.nat, other.nat) and Nat.OPEN not in (one.nat, other.nat)


def _bucket(key: Key) -> int:
    return key[0] % BUCKETS
