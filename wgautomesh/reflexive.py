"""Our own endpoints as others see them, and what that says about the NAT before us.

Pure. Each connected member is one observer; what it says is never more than one vote.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from .candidates import is_private
from .messages import Nat
from .values import Endpoint, IPAddress, Key

OBSERVERS = 48  # whose word counts, a family's latest: after a change most of them must have seen it


@dataclass(frozen=True, slots=True)
class Sighting:
    endpoint: Endpoint
    since: float  # s, when this observer began to see us there


class Reflexive:
    def __init__(self) -> None:
        self._sightings: dict[tuple[Key, int], Sighting] = {}  # by observer and IP version
        self._published: dict[int, Endpoint] = {}  # by IP version
        self._public: tuple[Collection[IPAddress], list[Endpoint]] | None = None  # asked for at each shot

    def seen(self, observer: Key, endpoint: Endpoint, now: float) -> bool:
        """An observer sees us at `endpoint`; whether that is news."""
        where = (observer, endpoint.ip.version)
        last = self._sightings.get(where)
        if last and last.endpoint == endpoint:
            return False
        self._public = None
        self._sightings.pop(where, None)  # so that the oldest stands first
        self._sightings[where] = Sighting(endpoint, now)
        if last or len(self._sightings) <= OBSERVERS:
            return True
        alike = [each for each in self._sightings if each[1] == endpoint.ip.version]
        if len(alike) <= OBSERVERS:
            return True
        oldest = self._sightings.pop(next(each for each in alike if not self._alone_keeps(each)))
        return oldest.endpoint != endpoint  # else only the voice has changed, not the word

    def forget(self, observer: Key) -> None:
        """The observer is not connected any more: what it saw may be past."""
        self._public = None
        for version in (4, 6):
            self._sightings.pop((observer, version), None)

    def public(self, own: Collection[IPAddress]) -> list[Endpoint]:
        """The endpoint worth telling others, one a family at most.

        The one most observers see, and of several the newest: after a change observers follow one by
        one. Another port of the same address is told once more than half see it. Until then the one
        told last stays for as long as somebody sees it: behind a NAT that gives each destination a port
        of its own every observer would otherwise be news to the whole mesh.
        """
        if self._public and self._public[0] == own:
            return self._public[1]
        chosen = []
        for version in (4, 6):
            sightings = self._outside(version, own)
            if not sightings:
                continue
            votes = Counter(each.endpoint for each in sightings)
            newest = max(sightings, key=lambda each: (votes[each.endpoint], each.since)).endpoint
            last = self._published.get(version)
            if last and last.ip == newest.ip and last in votes and 2 * votes[newest] <= len(sightings):
                newest = last
            self._published[version] = newest
            chosen.append(newest)
        self._public = (own, chosen)
        return chosen

    def nat(self, own: Collection[IPAddress], port: int) -> Nat:
        """The NAT before our IPv4 (else IPv6) address, given our own addresses and listen port."""
        for version in (4, 6):
            seen = {each.endpoint for each in self._outside(version, own)}
            if not seen:
                continue
            if any(each.ip in own and each.port == port for each in seen):
                return Nat.OPEN
            ips = {each.ip for each in seen}
            if len(seen) > len(ips):
                return Nat.CHANGING
            return Nat.STABLE if len(self._outside(version, own)) > 1 else Nat.UNKNOWN
        return Nat.UNKNOWN

    def _alone_keeps(self, observer: tuple[Key, int]) -> bool:
        """Whether without this one nobody would see us where we last told the others we are."""
        told = self._published.get(observer[1])
        seeing = (each for each, sighting in self._sightings.items() if sighting.endpoint == told)
        return next(seeing, None) == observer and next(seeing, None) is None

    def _outside(self, version: int, own: Collection[IPAddress]) -> list[Sighting]:
        """Sightings from beyond our own LAN, where there are any: a neighbour sees our private address."""
        every = [each for (_, family), each in self._sightings.items() if family == version]
        beyond = [each for each in every if not (each.endpoint.ip in own and is_private(each.endpoint.ip))]
        return beyond or every
