"""One alarm for each key. Pure: it knows no clock."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from .values import Key


class Timers:
    """Times in s. Setting an alarm again replaces it; the old entry is skipped when it comes up."""

    def __init__(self) -> None:
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []

    def set(self, key: Key, due: float) -> None:
        self._due[key] = due
        heapq.heappush(self._heap, (due, key))

    def clear(self, key: Key) -> None:
        self._due.pop(key, None)

    def ring(self, now: float) -> Iterator[Key]:
        """The keys whose alarm is due, earliest first; their alarms are off then."""
        while self.next() <= now:
            _, key = heapq.heappop(self._heap)
            del self._due[key]
            yield key

    def next(self) -> float:
        """When the next alarm is due; infinity if none is set."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else float("inf")
