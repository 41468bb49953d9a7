"""How often something may happen: so many times at once, and then at a rate. Pure."""

from __future__ import annotations


class Budget:
    """`burst` times at once, then one every `spacing` s on average. Times in s."""

    def __init__(self, spacing: float, burst: int) -> None:
        self._spacing = spacing
        self._reach = (burst - 1) * spacing
        self._spent = float("-inf")  # until when it is used up

    def due(self, now: float) -> float:
        """The earliest moment, `now` or later, at which it may happen."""
        return max(now, self._spent - self._reach)

    def allows(self, now: float) -> bool:
        """Whether it may happen now; counts it, if so."""
        if self._spent - self._reach > now:
            return False
        self._spent = max(self._spent, now) + self._spacing
        return True
