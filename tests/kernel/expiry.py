"""The clock goes back a day, and the sessions live out their time. Takes six minutes, so only by name:

python -m tests.kernel tests/kernel/expiry.py
"""

from __future__ import annotations

import itertools
import time

from ..lab.lab import Lab
from ..lab.pinger import Pings
from .conftest import WAIT, Printed
from .test_wall_clock import let_wireguard_speak, refusals, set_clock

SESSION = 180.0  # s; WireGuard refuses older keys (REJECT_AFTER_TIME)
RECOVERY = 30.0  # s after that


def longest_gap(pings: Pings) -> float:
    """Seconds between two answers; one ping leaves each second, and all have left by now."""
    answered = [0, *sorted(pings.answered), pings.sent + 1]
    return max(later - earlier for earlier, later in itertools.pairwise(answered)) - 1.0


def test_the_mesh_recovers_after_the_clock_went_back_a_day_and_all_sessions_expired(
    mesh: Lab, printed: Printed
) -> None:
    let_wireguard_speak()
    before = refusals()
    set_clock(mesh, -1)
    pingers = {(one.name, other.name): one.pinging(other, rate=1.0) for one, other in mesh.pairs()}
    time.sleep(SESSION + RECOVERY + WAIT)
    gaps = {pair: longest_gap(pinger.stop()) for pair, pinger in pingers.items()}
    for (one_name, other_name), seconds in gaps.items():
        printed(f"{one_name} and {other_name} out of reach", seconds)
    mesh.check_pings()
    assert refusals() > before
    assert max(gaps.values()) <= RECOVERY
