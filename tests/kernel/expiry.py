"""The clock goes back a day, and the sessions live out their time. Takes five minutes, so only by name:

python -m tests.kernel tests/kernel/expiry.py
"""

from __future__ import annotations

import time

from ..lab.lab import Lab
from .conftest import WAIT, Printed, reaches
from .test_wall_clock import let_wireguard_speak, refusals, set_clock

SESSION = 180.0  # s; WireGuard refuses older keys (REJECT_AFTER_TIME)
RECOVERY = 30.0  # s after that


def test_the_mesh_recovers_after_the_clock_went_back_a_day_and_all_sessions_expired(
    pair: Lab, printed: Printed
) -> None:
    let_wireguard_speak()
    before = refusals()
    set_clock(pair, -1)
    began = time.monotonic()
    down = {(one.name, other.name): 0.0 for one, other in pair.pairs()}
    while time.monotonic() < began + SESSION + RECOVERY + WAIT:
        for one, other in pair.pairs():
            start = time.monotonic()
            if not reaches(one, other):
                down[one.name, other.name] += time.monotonic() - start
        time.sleep(0.2)
    for (one_name, other_name), seconds in down.items():
        printed(f"{one_name} and {other_name} out of reach", seconds)
    pair.check_pings()
    assert refusals() > before
    assert max(down.values()) <= RECOVERY
