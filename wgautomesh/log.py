"""Logging to stderr: one line an event."""

from __future__ import annotations

import logging
import os
import sys
import time

TRACE = 5
LEVELS = {"trace": TRACE, "debug": 10, "info": 20, "warn": 30, "error": 40}
_PRIORITIES = ((40, "<3>"), (30, "<4>"), (20, "<6>"), (0, "<7>"))  # sd-daemon(3)


def one_line(text: str) -> str:
    """Escape what is not printable: names and errors come from elsewhere, and must not forge lines."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)


class _Lines(logging.Formatter):
    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += " | " + self.formatException(record.exc_info).replace("\n", " | ")
        text = one_line(text)
        if self._journal:
            return next(prefix for level, prefix in _PRIORITIES if record.levelno >= level) + text
        name = next(name for name, level in reversed(LEVELS.items()) if record.levelno >= level)
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        return f"{clock}.{int(record.msecs):03d} {name:<5} {text}"


def set_up(level: str) -> None:
    """Lines for a person, or with sd-daemon priorities where stderr goes to the journal."""
    logging.addLevelName(TRACE, "TRACE")
    logging.raiseExceptions = False  # a closed stderr is no reason to die
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(journal=_is_journal(os.environ.get("JOURNAL_STREAM"))))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # libraries: what they do in detail is not ours to tell
    logging.getLogger("pyroute2").setLevel(
        logging.ERROR
    )  # warns of /proc files a sandbox hides; we need none
    logging.getLogger(__package__).setLevel(LEVELS[level])


def _is_journal(stream: str | None) -> bool:
    """Whether stderr is this "DEVICE:INODE" (systemd.exec(5)); children inherit the variable all the same."""
    try:
        stderr = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # closed
        return False
    return stream == f"{stderr.st_dev}:{stderr.st_ino}"


class Once:
    """Says each thing once, until it changed or was over: what fails again and again must not fill a log."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last: dict[str, str] = {}  # by topic

    def say(self, topic: str, text: str, level: int = logging.WARNING) -> None:
        if self._last.get(topic) != text:
            self._last[topic] = text
            self._log.log(level, "%s", text)

    def said(self, topic: str) -> str | None:
        """What was said last, if it is not over."""
        return self._last.get(topic)

    def over(self, topic: str) -> None:
        """The trouble ended: should it come again, it is worth a line again."""
        self._last.pop(topic, None)
