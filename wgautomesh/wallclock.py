"""Notices that the wall clock went back. Pure: both clocks are arguments.

Only WireGuard looks at the wall clock: its handshakes carry it and must never go back, or others take them
for replays. CLOCK_BOOTTIME and CLOCK_REALTIME do not drift apart (kernel/time/timekeeping.c): only a step
parts them.
"""

from __future__ import annotations

from collections.abc import Iterable

NOTICED = 60.0  # s; time servers step a clock by less
MATTERS = 3600.0  # s after which the others have long made us anew, and the new time is simply the time


class WallClock:
    def __init__(self) -> None:
        self._latest = 0.0  # the latest wall-clock time we know of, s since the epoch,
        self._at = 0.0  # as of this moment on the steady clock
        self._noticed: float | None = None

    def back(self, wall: float, now: float, stamps: Iterable[float] = ()) -> float:
        """By how many s the clock went back; 0 if it did not, or long ago.

        `stamps` are times that this machine's clock is known to have shown (s since the epoch).
        """
        expected = self._latest + (now - self._at)
        self._latest, self._at = max(expected, wall, *stamps), now
        back = self._latest - wall
        if back < NOTICED:
            self._noticed = None
            return 0.0
        if self._noticed is None:
            self._noticed = now
        if now - self._noticed > MATTERS:
            self._latest, self._noticed = wall, None
            return 0.0
        return back
