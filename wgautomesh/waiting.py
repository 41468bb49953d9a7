"""Messages that wait until the device was read, for what they call for depends on what it shows. Pure."""

from __future__ import annotations

from collections import Counter

from .messages import Message
from .values import Key

MAX_WAITING = 1024  # until the next look; more in one reading interval is a flood
MAX_OF_ONE = 64  # of one member, whose flood must leave room for the others


class Waiting:
    """With None for a message: the member's host refused ours."""

    def __init__(self) -> None:
        self._messages: list[tuple[Key, Message | None]] = []
        self._of: Counter[Key] = Counter()

    def add(self, key: Key, message: Message | None) -> bool:
        """Whether there was room."""
        if len(self._messages) >= MAX_WAITING or self._of[key] >= MAX_OF_ONE:
            return False
        self._messages.append((key, message))
        self._of[key] += 1
        return True

    def take(self) -> list[tuple[Key, Message | None]]:
        taken, self._messages = self._messages, []
        self._of.clear()
        return taken
