"""Reads what an agent says: its log lines with their times, and what became of each link."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

DAY = 86_400.0  # s
FUTURE = 60.0  # s; a stamp further ahead than this is one of yesterday, before midnight

_LINE = re.compile(r"(?P<h>\d\d):(?P<m>\d\d):(?P<s>\d\d\.\d{3}) (?P<level>\w+) +(?P<text>.*)\Z")
_LINK = re.compile(r"(?P<name>\S+) \((?P<address>[^)]+)\) (?P<what>connected|silent|lost)\b(?P<rest>.*)\Z")
_CONNECTED = re.compile(
    r" at (?P<endpoint>\S+) after (?P<took>[\d.]+ \w+) \(learned from (?P<source>[^)]+)\)"
)
_CONFIGURED = re.compile(r"\S+ configured: \d+ members?, listening on port \d+")


@dataclass(frozen=True, slots=True)
class Line:
    at: float  # wall clock, s since the epoch
    level: str
    text: str

    def __str__(self) -> str:
        stamp = time.strftime("%H:%M:%S", time.localtime(self.at))
        return f"{stamp}.{int(self.at % 1 * 1000):03d} {self.level} {self.text}"

    @property
    def is_configured(self) -> bool:
        """The agent has put its members onto the interface for the first time."""
        return _CONFIGURED.match(self.text) is not None


@dataclass(frozen=True, slots=True)
class Change:
    """A link of the agent changed: `what` is connected, silent or lost; the rest only when connected."""

    at: float
    name: str
    what: str
    endpoint: str = ""
    took: str = ""
    source: str = ""


def lines(log: str, *, now: float) -> list[Line]:
    """The stamped lines of a log written within the last day; stamps are local time of day."""
    today = time.localtime(now)
    midnight = time.mktime((*today[:3], 0, 0, 0, 0, 0, -1))
    found = []
    for raw in log.splitlines():
        stamped = _LINE.match(raw)
        if stamped:
            at = midnight + int(stamped["h"]) * 3600 + int(stamped["m"]) * 60 + float(stamped["s"])
            found.append(Line(at - DAY if at > now + FUTURE else at, stamped["level"], stamped["text"]))
    return found


def changes(of: list[Line]) -> list[Change]:
    """What became of links, in order."""
    found = []
    for line in of:
        link = _LINK.match(line.text)
        if link:
            how = _CONNECTED.match(link["rest"])
            details = (how["endpoint"], how["took"], how["source"]) if how else ("", "", "")
            found.append(Change(line.at, link["name"], link["what"], *details))
    return found
