"""A ping that goes on in the background and can say afterwards exactly which answers never came."""

from __future__ import annotations

import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .shell import Namespace

_ANSWER = re.compile(
    r"^\[(?P<at>[\d.]+)\] \d+ bytes from .*icmp_seq=(?P<number>\d+) .*time=(?P<ms>[\d.]+) ms", re.MULTILINE
)
_SENT = re.compile(r"(?P<sent>\d+) packets transmitted")


@dataclass(frozen=True, slots=True)
class Pings:
    """`lost`: sequence numbers without an answer; the very last ping is not judged unless it was answered."""

    sent: int
    answers: dict[int, float]  # sequence number → RTT in s
    times: dict[int, float]  # sequence number → when answered, wall clock

    @property
    def lost(self) -> list[int]:
        judged = self.sent if self.sent in self.answers else self.sent - 1
        return [number for number in range(1, judged + 1) if number not in self.answers]

    def __str__(self) -> str:
        return f"{len(self.lost)} of {self.sent} pings lost"


class Pinger:
    """Pings an address from a namespace, `rate` times a second, from now until `stop`."""

    def __init__(self, ns: Namespace, address: str, log: Path, *, rate: float = 10.0) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = ns.spawn("ping", "-n", "-D", "-i", f"{1 / rate:.3f}", address, output=output)

    def so_far(self) -> Pings:
        text = self._log.read_text()
        answers = {int(found["number"]): found for found in _ANSWER.finditer(text)}
        sent = _SENT.search(text)
        return Pings(
            int(sent["sent"]) if sent else max(answers, default=0),
            {number: float(found["ms"]) / 1000 for number, found in answers.items()},
            {number: float(found["at"]) for number, found in answers.items()},
        )

    def stop(self) -> Pings:
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return self.so_far()
