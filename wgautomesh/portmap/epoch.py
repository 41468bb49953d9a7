"""Whether a router lost its mappings, by the seconds it has counted since. Pure.

Both protocols send this epoch with every answer; each has its rule for how far two clocks may drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass

SLACK = 2.0  # s that delays may cost


@dataclass(frozen=True, slots=True)
class Epoch:
    """What a router said, and when (s, our clock)."""

    said: int
    at: float

    def continues_nat_pmp(self, earlier: Epoch) -> bool:
        """RFC 6886, section 3.6: its clock may be slow by an eighth."""
        return self.said >= earlier.said + (self.at - earlier.at) * 7 / 8 - SLACK

    def continues_pcp(self, earlier: Epoch) -> bool:
        """RFC 6887, section 8.5: it may not run back, and both clocks agree to a sixteenth."""
        if self.said + 1 < earlier.said:
            return False
        ours, its = self.at - earlier.at, self.said - earlier.said
        return ours + SLACK >= its - its / 16 and its + SLACK >= ours - ours / 16
