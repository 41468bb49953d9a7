"""When the state file is read and written: a little after a change, again after a failure, and at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from .log import Once
from .store import Memory, Store

log = logging.getLogger(__name__)

SAVE_DELAY = 2.0  # s in which changes gather before they are written
SAVE_RETRY = 30.0  # s after a failed write


class Keeper:
    """`remembered` gives what is worth keeping, None while there is nothing yet."""

    def __init__(self, path: Path | None, remembered: Callable[[], Memory | None]) -> None:
        self._path = path
        self._remembered = remembered
        self._once = Once(log)
        self._due = float("inf")

    def load(self) -> Memory:
        """What an earlier run kept; nothing, and a line in the log, if that is of no use."""
        if self._path is None:
            return Memory()
        memory, warning = Store(self._path).load()
        if warning:
            log.warning("%s", warning)
        return memory

    def move(self, path: Path | None, at: float) -> None:
        """Keep it elsewhere from now on."""
        self._path = path
        self._due = at

    def changed(self, at: float) -> None:
        """Something worth keeping changed."""
        self._due = min(self._due, at + SAVE_DELAY)

    def next_due(self) -> float:
        return self._due

    def turn(self, at: float) -> None:
        if at >= self._due:
            self._save(at)

    def close(self, at: float) -> None:
        if self._due != float("inf"):
            self._save(at)

    def _save(self, at: float) -> None:
        self._due = float("inf")
        memory = self._remembered()
        if self._path is None or memory is None:
            return
        try:
            Store(self._path).save(memory)
        except OSError as error:
            self._once.say("save", f"cannot write {self._path}: {error.strerror or error}; going on without")
            self._due = at + SAVE_RETRY
        else:
            self._once.over("save")
