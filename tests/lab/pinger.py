"""A ping that goes on in the background and can say afterwards exactly which answers never came."""

from __future__ import annotations

import math
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .shell import Namespace

_ANSWER = re.compile(r"^\d+ bytes from .*icmp_seq=(\d+) ", re.MULTILINE)
_SENT = re.compile(r"(\d+) packets transmitted")
GRACE = 1.0  # s in which an answer may come


@dataclass(frozen=True, slots=True)
class Pings:
    """Only the first `judged` were sent so long ago that an answer must have come."""

    sent: int
    judged: int
    answered: frozenset[int]  # sequence numbers, from 1

    @property
    def lost(self) -> list[int]:
        """Sequence numbers without an answer."""
        return [number for number in range(1, self.judged + 1) if number not in self.answered]

    def __str__(self) -> str:
        return f"{len(self.lost)} of {self.judged} pings lost"


class Pinger:
    """Pings an address from a namespace, `rate` times a second, from now until `stop`."""

    def __init__(self, ns: Namespace, address: str, log: Path, *, rate: float = 10.0) -> None:
        self._log, self._rate = log, rate
        with log.open("wb") as output:
            self._process = ns.spawn("ping", "-n", "-i", f"{1 / rate:.3f}", address, output=output)

    def stop(self) -> Pings:
        """Pings go on for as long as the answers to what was sent until now may take."""
        time.sleep(GRACE)
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        text = self._log.read_text()
        answered = frozenset(map(int, _ANSWER.findall(text)))
        found = _SENT.search(text)
        sent = int(found[1]) if found else max(answered, default=0)
        return Pings(sent, max(0, sent - math.ceil(GRACE * self._rate) - 1), answered)
