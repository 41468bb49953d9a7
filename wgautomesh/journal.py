"""What happened to one member's link, for a person who asks. Pure; nothing is ever decided by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .values import Endpoint

EVENTS_KEPT = 50  # of a link; a mesh of 3,000 that never rests shall not fill the memory
ENDPOINTS_KEPT = 16  # whose last attempt is remembered: somewhat more than a member has candidates


@dataclass(frozen=True, slots=True)
class Happening:
    """`count` times the same, without anything else in between: from `first` to `last` (s)."""

    text: str
    first: float
    last: float
    count: int = 1


@dataclass(frozen=True, slots=True)
class Tried:
    """The attempts at one endpoint; `last` in s."""

    last: float
    count: int = 1
    answered: bool = False  # since the last attempt


class Journal:
    """The last EVENTS_KEPT events of a link, and when each endpoint was last tried."""

    __slots__ = ("_events", "_tried")

    def __init__(self) -> None:
        self._events: list[Happening] = []  # a deque would take 600 bytes, and most have little to tell
        self._tried: dict[Endpoint, Tried] = {}

    def __iter__(self) -> Iterator[Happening]:
        """Oldest first."""
        return iter(self._events)

    def note(self, text: str, now: float) -> None:
        """What repeats itself, alone or in turn with one other event, is counted, not written anew."""
        events = self._events
        for back in (1, 2):
            if len(events) >= back and events[-back].text == text:
                same = events[-back]
                del events[-back]
                events.append(Happening(text, same.first, now, same.count + 1))
                return
        events.append(Happening(text, now, now))
        del events[:-EVENTS_KEPT]

    def shot(self, endpoint: Endpoint, now: float) -> None:
        """An attempt at this endpoint began, or goes on."""
        before = self._tried.pop(endpoint, None)
        self._tried[endpoint] = Tried(now, before.count + 1 if before else 1)
        if len(self._tried) > ENDPOINTS_KEPT:
            del self._tried[next(iter(self._tried))]

    def worked(self, endpoint: Endpoint, now: float) -> None:
        before = self._tried.get(endpoint)
        self._tried[endpoint] = Tried(before.last if before else now, before.count if before else 0, True)

    def tried(self, endpoint: Endpoint) -> Tried | None:
        return self._tried.get(endpoint)
