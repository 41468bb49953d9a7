"""The agent on a machine whose wall clock has just been set back by a day, after WireGuard shook hands.

A network namespace shares the machine's clock, so only the agent sees the new time here. What such a clock
does to real handshakes stands in tests/kernel/test_wall_clock.py.
"""

from __future__ import annotations

import sys
import time

from wgautomesh.cli import main

DAY = 86_400  # s

if __name__ == "__main__":
    real = time.time
    setattr(time, "time", lambda: real() - DAY)  # noqa: B010 - mypy knows better than to allow it
    sys.exit(main())
