"""Counts gossip datagrams as they come and go, and by reason those that were rejected. Pure."""

from __future__ import annotations

from collections import Counter

from .messages import Message

SENT, RECEIVED = "sent", "received"
OTHER_SECRET, MALFORMED, NEWER, UNKNOWN_KIND = "other secret", "malformed", "newer version", "unknown kind"
TOO_MANY, NO_MEMBER = "too many", "no member"


class Tally:
    def __init__(self) -> None:
        self.datagrams: Counter[tuple[str, str]] = Counter()  # by direction and kind of message
        self.bytes: Counter[tuple[str, str]] = Counter()  # of sealed datagrams, without IP and UDP headers
        self.rejected: Counter[str] = Counter()  # by reason

    def count(self, direction: str, message: Message, size: int) -> None:
        what = (direction, type(message).__name__)
        self.datagrams[what] += 1
        self.bytes[what] += size
