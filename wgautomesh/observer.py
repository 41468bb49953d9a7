"""Watches what the core does, and keeps account of it: journals of links, and figures for metrics.

Pure. It sees the effects on their way to the agent and gives none of its own: without it, all would go on
the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping

from .effects import Change, Effect, Readd, Say
from .link import Link
from .messages import Kind
from .values import Endpoint, Key

CONNECT_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0)  # s, of the histogram's buckets


class Histogram:
    """Counts by upper bound; the last one is for what is above all bounds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Observer:
    """One for the life of an agent."""

    def __init__(self) -> None:
        self.tried: Counter[Kind] = Counter()  # turns that endpoints got, by how they were learned
        self.succeeded: Counter[Kind] = Counter()
        self.connect_seconds = Histogram(CONNECT_BOUNDS)
        self._up: dict[Key, float] = {}  # links seen up, by when they had been lost before

    def watch(self, links: Mapping[Key, Link], effects: Iterable[Effect], now: float) -> None:
        for effect in effects:
            match effect:
                case Say(_, text, about) if about and about in links:
                    self._said(links[about], text, now)
                case Readd(peer) if peer.endpoint and peer.key in links:
                    self._shot(links[peer.key], peer.endpoint, now)
                case Change(key, endpoint) if endpoint and key in links:
                    link = links[key]
                    if not (link.is_up and endpoint == link.endpoint):  # else its own, set once more
                        self._shot(link, endpoint, now)

    def _said(self, link: Link, text: str, now: float) -> None:
        key = link.member.key
        link.journal.note(text.removeprefix(f"{link.member} "), now)
        if link.told and link.endpoint and self._up.get(key) != link.down_since:
            self._up[key] = link.down_since
            link.journal.worked(link.endpoint, now)
            candidate = link.candidates.get(link.endpoint)
            self.succeeded[candidate.kind if candidate else Kind.OBSERVED] += 1
            self.connect_seconds.add(now - link.down_since)

    def _shot(self, link: Link, endpoint: Endpoint, now: float) -> None:
        last = link.journal.tried(endpoint)
        # Shots of one turn at one endpoint are one attempt: its kind is counted when the turn begins.
        if last is None or last.last < link.since or link.attempt.shots <= 1:
            candidate = link.candidates.get(endpoint)
            self.tried[candidate.kind if candidate else Kind.OBSERVED] += 1
        link.journal.shot(endpoint, now)
