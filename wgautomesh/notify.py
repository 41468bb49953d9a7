"""What systemd wants to hear (sd_notify(3)): one datagram to the socket in NOTIFY_SOCKET."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Silent where nobody listens. `watchdog` is the interval to call `alive` in, in s; infinity if none."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self.watchdog = float("inf")
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if ours and environ.get("WATCHDOG_USEC", "").isdigit():
            self.watchdog = int(environ["WATCHDOG_USEC"]) / 2e6  # half the time we have
        self._status = ""
        self._alive_due = 0.0

    def next_due(self) -> float:
        return self._alive_due

    def turn(self, now: float) -> None:
        """Say that the loop still turns, when it is time."""
        if now >= self._alive_due:
            self.alive()
            self._alive_due = now + self.watchdog

    def ready(self) -> None:
        self._tell("READY=1")

    def reloading(self) -> None:
        """`ready` must follow."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def alive(self) -> None:
        self._tell("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`, sent when it changed."""
        if text != self._status:
            self._status = text
            self._tell(f"STATUS={text}")

    def _tell(self, text: str) -> None:
        if self._address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(text.encode(), self._address)
