"""Why a member is not connected, or what is wrong with it though it is: in words, for the operator. Pure.

Each sentence says only what is known here. tests/lab/test_reasons.py shows each of them on real parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from .book import Book, listen_ports
from .gossip import Gossip
from .link import Link, State
from .messages import Kind, Nat, Record
from .standpoint import Standpoint
from .values import Endpoint, HostPort, IPAddress, Key

INTRODUCTION_LASTS = 120.0  # s for which an introduction says that others reach the member


@dataclass(frozen=True)
class Circumstances:
    """What does not depend on the member. `now` and `clock_back` in s."""

    now: float
    own: Key
    links: Mapping[Key, Link]
    book: Book
    nat: Nat = Nat.UNKNOWN  # before ourselves
    company: bool = True  # another member is connected, and its agent answers
    clock_back: float = 0.0  # by how much our wall clock went back
    behind_two_nats: bool = False  # our router mapped a port, and stands behind another NAT
    opened: bool = False  # our router opened a port to everybody

    @cached_property
    def places(self) -> Mapping[Endpoint, list[Link]]:
        """Which members were lately heard of behind each public address with each listen port."""
        places: dict[Endpoint, list[Link]] = {}
        for link in self.links.values():
            if link.is_up or self.now - link.introduced_at < INTRODUCTION_LASTS:
                record = self.book.get(link.member.key)
                for ip, port in product(_public(record), listen_ports(record)):
                    places.setdefault(Endpoint(ip, port), []).append(link)
        return places

    def sharer(self, key: Key) -> Link | None:
        """Another member with the place at which others see this one.

        A router gives the outer port to one of the two. If it does not give it to the same one for all
        destinations, who shoots at where a third sees a member meets the other.
        """
        record = self.book.get(key)
        seen = (each.endpoint for each in record.routes if each.kind is Kind.OBSERVED) if record else ()
        contested = [each for each in seen if each.port in listen_ports(record)]
        sharers = [link for each in contested for link in self.places.get(each, ())]
        return next((link for link in sharers if link.member.key != key), None)


def _public(record: Record | None) -> set[IPAddress]:
    return {each.endpoint.ip for each in record.routes if each.kind is Kind.OBSERVED} if record else set()


def circumstances(
    links: Mapping[Key, Link], gossip: Gossip, standpoint: Standpoint, now: float
) -> Circumstances:
    own = gossip.book.get(gossip.own)
    return Circumstances(
        now,
        gossip.own,
        links,
        gossip.book,
        own.nat if own else Nat.UNKNOWN,
        any(link.is_up and link.agent for link in links.values()),
        standpoint.clock_back,
        standpoint.behind_two_nats,
        bool(standpoint.mapped),
    )


def reason(link: Link, around: Circumstances) -> str:  # noqa: PLR0911 - a list of reasons
    """The first of all reasons that hold; "" if nothing is wrong."""
    if link.blocked:
        return link.blocked
    if link.other_secret:
        return "it speaks with another gossip secret"
    if link.is_up:
        return "" if link.agent else "reachable, but no agent answers there"
    if around.clock_back:
        ago = span(around.clock_back)
        return f"our clock went back by {ago}: others take our handshakes for old ones and drop them"
    if not len(link.candidates):
        return _without_endpoint(link)
    if link.state is State.SILENT:
        return "no answer any more; trying its other endpoints"
    if not link.attempt.rounds:
        return "trying"
    since = max(link.down_since, around.now - INTRODUCTION_LASTS)
    return _others_reach_it(link, around) if link.introduced_at >= since else _nobody_reaches_it(link, around)


def span(seconds: float) -> str:
    """A length of time as a person says it."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"


def _without_endpoint(link: Link) -> str:
    names = [each.host for each in link.member.endpoints if isinstance(each, HostPort)]
    if names:
        return f"{names[0]} does not resolve, and nobody knows another endpoint"
    return "nobody knows an endpoint"


def _nobody_reaches_it(link: Link, around: Circumstances) -> str:
    answered = [each for each in link.candidates if each.answered]
    count = len(link.candidates)
    known = answered or list(link.candidates)
    place = str(max(known, key=lambda each: each.confirmed).endpoint)
    where = place if count == 1 else f"{place} and {count - 1} more"
    if not around.company:
        return f"no answer at {where} nor from anybody else: a wrong endpoint, or no UDP gets in or out"
    if answered:
        return f"no answer any more at {where}, nor do others reach it: it seems to be down"
    return f"no answer at {where}, nor do others reach it: a wrong endpoint, or it is down"


def _others_reach_it(link: Link, around: Circumstances) -> str:
    opened = around.opened or any(each.kind is Kind.MAPPED for each in link.candidates)
    closed = not opened and Nat.OPEN not in (around.nat, link.nat)
    ours, theirs = closed and around.nat is Nat.CHANGING, closed and link.nat is Nat.CHANGING
    if ours and around.behind_two_nats:
        return "our router's mapping ends at a second NAT: map a port there, or on the other side"
    if ours and theirs:
        return "both NATs change ports: map or fix a port on one side"
    if theirs:
        return "its NAT changes ports, ours lets in no stranger: map or fix a port on one side"
    if ours:
        return "our NAT changes ports, its lets in no stranger: map or fix a port on one side"
    text = "others reach it, but nothing gets through between us: does a firewall drop UDP?"
    if closed:
        text += _mixed_up(link, around)
    if Nat.UNKNOWN in (around.nat, link.nat):
        text += " One observer is too few to tell whether a NAT changes ports"
    return text


def _mixed_up(link: Link, around: Circumstances) -> str:
    """What else may be in the way if somebody shares our place or the member's, with whom we do not."""
    if _public(around.book.get(around.own)) & _public(around.book.get(link.member.key)):
        return ""  # behind one router
    for key, whom in ((around.own, "us"), (link.member.key, "it")):
        sharer = around.sharer(key)
        if sharer:
            share = "who share a public address and a listen port"
            return f" Or give {whom} and {sharer.member}, {share}, a port each."
    return ""
