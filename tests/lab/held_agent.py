"""The agent, telling for how long each turn of its loop held everything else up.

A turn is what happens between two waits. What the machine does to it does not count: the time in which it was
ready to run and had no processor, and that in which wireguard-go, the lab's stand-in for the kernel, answers.
"""

from __future__ import annotations

import logging
import selectors
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from wgautomesh.cli import main
from wgautomesh.wireguard import choose, uapi

WORTH_SAYING = 0.005  # s
log = logging.getLogger("wgautomesh.held")


class Timed(selectors.EpollSelector):
    _woke = float("inf")
    _lost = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if threading.current_thread() is not threading.main_thread():  # that one may wait
            return super().select(timeout)
        held = time.monotonic() - self._woke - (lost() - self._lost)
        if held > WORTH_SAYING:
            log.info("held %.1f ms", held * 1000)
        ready = super().select(timeout)
        self._woke, self._lost = time.monotonic(), lost()
        return ready


class Answering(uapi.UserspaceWireGuard):
    """Keeps account of how long wireguard-go took, apart from the processor we lacked in that time."""

    seconds = 0.0

    def _exchange(self, request: bytes) -> bytes:
        began, queue = time.monotonic(), queued()
        try:
            return super()._exchange(request)
        finally:
            Answering.seconds += time.monotonic() - began - (queued() - queue)


def lost() -> float:
    """Seconds so far that were not ours."""
    return queued() + Answering.seconds


_delays: dict[str, int] = {}  # of each thread so far, in ns; they end, and what they waited for stays


def queued() -> float:
    """Seconds in which threads waited for a processor (Documentation/scheduler/sched-stats.rst).

    Of all threads: one that holds the interpreter's lock without a processor holds up this one, which does
    not wait for a processor itself.
    """
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # it has ended
            _delays[path.parent.name] = int(path.read_text().split()[1])
    return sum(_delays.values()) / 1e9


if __name__ == "__main__":
    setattr(selectors, "DefaultSelector", Timed)  # noqa: B010 - mypy knows better than to allow it
    setattr(choose, "UserspaceWireGuard", Answering)  # noqa: B010
    sys.exit(main())
