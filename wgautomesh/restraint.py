"""How many shots leave for addresses that nothing but hearsay speaks for. Pure.

A shot is a handshake initiation of 148 bytes, at an address where perhaps no member is. Whoever lies about
many members could have the whole mesh shoot at a victim: so what follows one member's word is limited, and
what follows the words of all.
"""

from __future__ import annotations

from .candidates import Candidate
from .values import Key

REPORTER_RATE, REPORTER_BURST = 20.0, 200  # shots in a second that one member's word causes, and at once
TOTAL_RATE, TOTAL_BURST = 50.0, 500  # of all members; a mesh of 500 still meets in one go
MAX_REPORTERS = 1000  # remembered; those whose shots are all regained need not be


class Restraint:
    def __init__(self) -> None:
        self._spent: dict[Key, float] = {}  # by reporter: until when its shots are used up (s)
        self._spent_in_total = float("-inf")

    def allows(self, target: Candidate, now: float) -> bool:
        """Whether a shot at the target may leave now; counts it, if so."""
        if target.source is None or target.answered:
            return True
        spent = max(self._spent.get(target.source, now), now)
        total = max(self._spent_in_total, now)
        if spent - now >= REPORTER_BURST / REPORTER_RATE or total - now >= TOTAL_BURST / TOTAL_RATE:
            return False
        self._spent[target.source] = spent + 1 / REPORTER_RATE
        self._spent_in_total = total + 1 / TOTAL_RATE
        if len(self._spent) > MAX_REPORTERS:
            self._spent = {reporter: until for reporter, until in self._spent.items() if until > now}
        return True
