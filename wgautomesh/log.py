"""Logging to stderr: one line an event."""

from __future__ import annotations

import json
import logging
import os
import sys
import time

TRACE = 5
LEVELS = {"trace": TRACE, "debug": 10, "info": 20, "warn": 30, "error": 40}
TEXT, JSON = FORMS = ("text", "json")
MAX_DETAILS = 100  # debug lines from one place in the code, in
DETAILS_WINDOW = 10.0  # s
_PRIORITIES = ((40, "<3>"), (30, "<4>"), (20, "<6>"), (0, "<7>"))  # sd-daemon(3)


def one_line(text: str) -> str:
    """Escape what is not printable: names and errors come from elsewhere, and must not forge lines."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)


class _Lines(logging.Formatter):
    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = one_line(_text(record))
        if self._journal:
            return next(prefix for level, prefix in _PRIORITIES if record.levelno >= level) + text
        name = _level_name(record.levelno)
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        return f"{clock}.{int(record.msecs):03d} {name:<5} {text}"


class _Json(logging.Formatter):
    """One object a line; `peer` is the key of the member that the event is about."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        event = {
            "time": f"{clock}.{int(record.msecs):03d}Z",
            "level": _level_name(record.levelno),
            "module": record.name.rpartition(".")[2],
            "text": one_line(_text(record)),
        }
        peer = getattr(record, "peer", None)
        return json.dumps(event | ({"peer": peer} if peer else {}), ensure_ascii=False)


class _Calm(logging.Filter):
    """Lets one place in the code write MAX_DETAILS debug lines in DETAILS_WINDOW: strangers can cause those.

    What is worth more than debug is bounded where it is said, and `trace` tells every message: who asks for
    that gets it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._windows: dict[tuple[str, int], tuple[float, int]] = {}  # by place: begin, lines

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.DEBUG:
            return True
        place, now = (record.pathname, record.lineno), time.monotonic()
        began, count = self._windows.get(place, (now, 0))
        if now - began > DETAILS_WINDOW:
            began, count = now, 0
        self._windows[place] = (began, count + 1)
        if count == MAX_DETAILS:
            record.msg, record.args = "%s (more of this kind is left out)", (record.getMessage(),)
        return count <= MAX_DETAILS


def _text(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info:
        text += " | " + logging.Formatter().formatException(record.exc_info).replace("\n", " | ")
    return text


def _level_name(number: int) -> str:
    return next(name for name, level in reversed(LEVELS.items()) if number >= level)


def set_up(level: str, form: str = TEXT) -> None:
    """Lines for a person, or with sd-daemon priorities where stderr goes to the journal; or JSON."""
    logging.addLevelName(TRACE, "TRACE")
    logging.raiseExceptions = False  # a closed stderr is no reason to die
    handler = logging.StreamHandler(sys.stderr)
    journal = _is_journal(os.environ.get("JOURNAL_STREAM"))
    handler.setFormatter(_Json() if form == JSON else _Lines(journal=journal))
    handler.addFilter(_Calm())
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
