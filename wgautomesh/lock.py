"""One agent per interface: who comes second is told who was first. Nothing is kept on disk."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from pathlib import Path

BACKLOG = 4096  # those turned away stay in the queue; when it is full, the next are not told who holds it


class Held(Exception):
    """Another process has this interface."""

    def __init__(self, pid: int | None, command: str | None) -> None:
        who = f"process {pid}" + (f" ({command})" if command else "") if pid else "another process"
        super().__init__(who)
        self.pid = pid
        self.command = command


def hold(interface: str) -> socket.socket:
    """Hold the interface for as long as the returned socket is open; raises Held, or OSError.

    An abstract unix socket: its name lives in the network namespace, exactly as the interface's does, and
    nothing of it is left behind, however the process ends.
    """
    name = f"\0wgautomesh/{interface}"
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        lock.bind(name)
        lock.listen(BACKLOG)
    except OSError as error:
        lock.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise _holder(name) from None
    return lock


def _holder(name: str) -> Held:
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as ask,
    ):
        ask.connect(name)
        pid, _, _ = struct.unpack("3i", ask.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if pid == 0:  # it lives in a PID namespace that we cannot see
            return Held(None, None)
        with contextlib.suppress(OSError):
            return Held(pid, Path(f"/proc/{pid}/comm").read_text().strip())
        return Held(pid, None)
    return Held(None, None)
