"""Keeps account for the operator, and answers: the control socket, the metrics, and what is behind them.

The agent tells it what happens; nothing here ever acts upon the mesh.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import time
from collections.abc import Callable, Sequence

from .config import Config
from .control import Control, default_path
from .effects import Effect
from .mesh import Mesh
from .observer import Histogram, Observer
from .report import View
from .stream import Answer, Server
from .tally import Tally
from .values import Device, Endpoint
from .wallclock import WallClock

log = logging.getLogger(__name__)

HELD_BOUNDS = (0.001, 0.005, 0.02, 0.1, 0.5)  # s, of the histogram's buckets


class Reporter:
    """`view` and `survey` as in `Control`."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        config: Config,
        view: Callable[[float], View],
        survey: Callable[[float], float | None],
        tally: Tally,
    ) -> None:
        self._selector, self._view, self._tally = selector, view, tally
        self._observer = Observer()
        self._held = Histogram(HELD_BOUNDS)
        self._listen = config.metrics_listen
        self._metrics: Server | None = None
        path = config.control_socket or default_path(config.interface)
        self._control = Control(selector, path, view, survey)
        self._clock = WallClock()
        self._kept = config.persist_file

    def open(self, now: float) -> None:
        """Begin to answer. What an earlier run wrote tells what the clock has shown."""
        self._control.open()
        if self._kept:
            with contextlib.suppress(OSError):
                self._clock.back(time.time(), now, [self._kept.stat().st_mtime])

        if self._listen:
            self._open_metrics(self._listen)

    def close(self) -> None:
        self._control.close()
        if self._metrics:
            self._metrics.close()

    def next_due(self) -> float:
        return min(self._control.next_due(), self._metrics.next_due() if self._metrics else float("inf"))

    def turn(self, now: float) -> None:
        self._control.turn(now)
        if self._metrics:
            self._metrics.turn(now)

    def held(self, seconds: float) -> None:
        """How long a turn of the loop took, from waking up until waiting again."""
        self._held.add(seconds)

    def _open_metrics(self, at: Endpoint) -> None:
        try:
            from . import metrics  # noqa: PLC0415 - an optional dependency, and 5 MiB

            listener = metrics.listen(at)
        except ImportError:
            log.error("metrics_listen: prometheus-client is missing: pip install prometheus-client")
            return
        except OSError as error:
            log.error("metrics_listen: cannot listen at %s: %s", at, error.strerror)
            return

        def answer(request: bytes, now: float) -> Answer:
            return metrics.respond(request, lambda: self._view(now), self._observer, self._tally, self._held)

        self._metrics = Server(self._selector, listener, answer, end=b"\r\n\r\n", once=True)
        log.info("metrics at http://%s/metrics", at)

    def watch(self, mesh: Mesh, effects: Sequence[Effect], now: float) -> None:
        """What the core wants done."""
        self._observer.watch(mesh.links, effects, now)

    def look(self, mesh: Mesh, device: Device, now: float) -> None:
        """The device as just read: its handshakes tell what the clock has shown."""
        stamps = (peer.handshake / 1e9 for peer in device.peers.values())
        mesh.standpoint.clock_back = self._clock.back(time.time(), now, stamps)
