"""Runs the UPnP program of `igd.py`, one errand at a time, and hands over its answer; never waits for it."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from ipaddress import IPv4Address

from .actions import Trouble, UpnpAnswer
from .igd import TIME_LIMIT, Request

PROGRAM = f"{__package__}.igd"
MAX_ANSWER = 4096  # bytes; more is no answer of ours
FAREWELL = 2.0  # s that the agent's end may wait for the release of a mapping
MAX_WORDS = 200  # characters of an error


class Helper:
    """`done` gets each answer, with the time; an errand that was ended brings none."""

    def __init__(self, selector: selectors.BaseSelector, done: Callable[[UpnpAnswer, float], None]) -> None:
        self._selector = selector
        self._done = done
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""
        self.due = float("inf")  # when the errand under way has taken too long

    def run(self, request: Request, now: float) -> None:
        """Begin an errand; one under way is ended."""
        self.end()
        command = [sys.executable, "-m", PROGRAM, json.dumps(asdict(request))]
        try:
            process = subprocess.Popen(  # noqa: S603 - a program of our own
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
                cwd="/",  # Python looks there for modules first
                start_new_session=True,
            )
        except OSError as error:
            self.due = now
            self._said = json.dumps({"error": f"cannot run: {error}"}).encode()
            return
        self._process, self._said, self.due = process, b"", now + TIME_LIMIT
        if process.stdout:
            os.set_blocking(process.stdout.fileno(), False)
            self._selector.register(process.stdout, selectors.EVENT_READ, self._hear)

    def end(self) -> None:
        """Kill the errand under way, if any."""
        process, self._process, self.due = self._process, None, float("inf")
        if process is None:
            return
        process.kill()
        process.wait()
        if process.stdout:
            self._selector.unregister(process.stdout)
            process.stdout.close()

    def tick(self, now: float) -> None:
        if now >= self.due:
            said = self._said if self._process is None else b'{"error": "not done in time"}'
            self.end()
            self._done(parse(said), now)

    def farewell(self) -> None:
        """Let the errand under way, a release, be done: the one thing that is waited for, at the end."""
        if self._process:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(FAREWELL)

    def _hear(self, now: float) -> None:
        if self._process is None or self._process.stdout is None:
            return
        try:
            part = os.read(self._process.stdout.fileno(), MAX_ANSWER)
        except BlockingIOError:
            return
        self._said += part
        if not part or len(self._said) > MAX_ANSWER:
            self.end()
            self._done(parse(self._said), now)


def parse(said: bytes) -> UpnpAnswer:
    """The answer of the program. What came from the router stands in it, so nothing is taken for granted."""
    try:
        found = json.loads(said)
        if not isinstance(found, dict):
            raise ValueError("no table")
        if "error" in found:
            trouble = Trouble[found.get("trouble", "REFUSED")]
            return UpnpAnswer(trouble=trouble, error=str(found["error"])[:MAX_WORDS])
        if not found:  # a release
            return UpnpAnswer()
        ip, port, lifetime = IPv4Address(found["ip"]), int(found["port"]), int(found["lifetime"])
        if not 0 < port < 65536 or lifetime < 0:
            raise ValueError("out of range")
        return UpnpAnswer(ip, port, lifetime, bool(found["made"]), str(found["url"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):  # JSON knows Infinity
        return UpnpAnswer(trouble=Trouble.REFUSED, error="its answers made the program that asks it fail")
