"""Signals as something the loop can wait for."""

from __future__ import annotations

import os
import selectors
import signal

LISTENED_TO = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """Once `listen` was called, a signal wakes the selector and is kept until somebody asks."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._came: set[int] = set()

    def listen(self) -> None:
        heard, tell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
        for number in LISTENED_TO:
            signal.signal(number, lambda number, _: self._came.add(number))
        self._selector.register(heard, selectors.EVENT_READ, lambda _: os.read(heard, 64))

    @property
    def end(self) -> bool:
        """Whether we are told to stop."""
        return bool(self._came & {signal.SIGTERM, signal.SIGINT})

    def reload(self) -> bool:
        """Whether we are told to read the configuration again, since the last call."""
        told = signal.SIGHUP in self._came
        self._came.discard(signal.SIGHUP)
        return told
