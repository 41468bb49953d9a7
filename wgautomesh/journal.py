"""What happened to one member's link, for a person who asks. Pure; nothing is ever decided by it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

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

    endpoint: Endpoint
    last: float
    count: int = 1
    answered: bool = False  # since the last attempt


class Journal:
    """The last EVENTS_KEPT events of a link, and when each endpoint was last tried."""

    __slots__ = ("_events", "_tried")

    def __init__(self) -> None:
        self._events: tuple[Happening, ...] = ()  # not lists or dicts: most have little to tell,
        self._tried: tuple[Tried, ...] = ()  # and empty ones would take 120 bytes of each link

    def __iter__(self) -> Iterator[Happening]:
        """Oldest first."""
        return iter(self._events)

    def note(self, text: str, now: float) -> None:
        """What repeats itself, alone or in turn with one other event, is counted, not written anew."""
        new, events = Happening(text, now, now), self._events
        same = next((each for each in events[:-3:-1] if each.text == text), None)
        if same:
            new = Happening(text, same.first, now, same.count + 1)
        self._events = (*(each for each in events if each is not same), new)[-EVENTS_KEPT:]

    def shot(self, endpoint: Endpoint, now: float) -> None:
        """An attempt at this endpoint began, or goes on."""
        before = self.tried(endpoint)
        self._replace(before, Tried(endpoint, now, before.count + 1 if before else 1))

    def worked(self, endpoint: Endpoint, now: float) -> None:
        before = self.tried(endpoint) or Tried(endpoint, now, 0)
        self._replace(before, replace(before, answered=True))

    def tried(self, endpoint: Endpoint) -> Tried | None:
        return next((each for each in self._tried if each.endpoint == endpoint), None)

    def _replace(self, before: Tried | None, after: Tried) -> None:
        rest = (each for each in self._tried if each is not before)
        self._tried = (*rest, after)[-ENDPOINTS_KEPT:]
