"""The clock goes back a day, and the sessions live out their time. Takes five minutes, so only by name:

python -m tests.kernel tests/kernel/expiry.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..lab import topology
from ..lab.lab import Lab
from ..lab.topology import Topology
from .conftest import Printed, SetClock
from .test_mesh import WAIT, reaches

LabOf = Callable[[Topology], Lab]

SESSION = 180.0  # s; WireGuard refuses older keys (REJECT_AFTER_TIME)
RECOVERY = 30.0  # s after that


def test_the_mesh_recovers_after_the_clock_went_back_a_day_and_all_sessions_expired(
    lab_of: LabOf, set_clock: SetClock, printed: Printed
) -> None:
    lab = lab_of(topology.pair())
    lab.configure()
    lab.start()
    lab.until_meshed(within=WAIT)
    set_clock(lab, -1)
    began = time.monotonic()
    down = {(one.name, other.name): 0.0 for one, other in lab.pairs()}
    while time.monotonic() < began + SESSION + RECOVERY + WAIT:
        for one, other in lab.pairs():
            start = time.monotonic()
            if not reaches(one, other):
                down[one.name, other.name] += time.monotonic() - start
        time.sleep(0.2)
    for (one_name, other_name), seconds in down.items():
        printed(f"{one_name} and {other_name} out of reach", seconds)
    lab.check_pings()
    assert max(down.values()) <= RECOVERY
