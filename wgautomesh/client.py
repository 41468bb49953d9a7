"""Asks running agents over their control sockets (docs/control.md). Never imported by the agent."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path("/run/wgautomesh")  # where `control.default_path` puts sockets, or a folder below
TIMEOUT = 10.0  # s
MAX_ANSWER = 64 * 2**20  # bytes; 3,000 peers take 1 MB


class NoAgent(Exception):
    """Nobody answers at a socket, or nobody who speaks as we do; the text says why."""

    def __init__(self, text: str, *, stopped: bool = False) -> None:
        super().__init__(text)
        self.stopped = stopped  # an agent ended without removing its socket, or has just removed it


def sockets(interface: str | None = None, folder: Path = FOLDER) -> Sequence[Path]:
    """The control sockets there are, of one interface or of all; those of stopped agents among them."""
    name = f"{interface or '*'}.sock"
    if interface and ("/" in interface or "*" in interface):
        return ()
    return sorted([*folder.glob(name), *folder.glob(f"*/{name}")])


def ask(path: Path, request: dict[str, object], timeout: float = TIMEOUT) -> dict[str, Any]:
    """The answer to one request. Raises NoAgent."""
    heard = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            wait = struct.pack("@ll", int(timeout), int(timeout % 1 * 1e6))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
            sock.connect(str(path))  # must block: else it fails at once where others wait to be let in, too
            sock.settimeout(timeout)
            sock.sendall(json.dumps(request).encode() + b"\n")
            while not heard.endswith(b"\n") and len(heard) < MAX_ANSWER:
                more = sock.recv(1 << 16)
                if not more:
                    break
                heard += more
        answer = json.loads(heard)
    except (TimeoutError, BlockingIOError):
        raise NoAgent(f"{path}: no answer within {timeout:.0f} s") from None
    except OSError as error:
        stopped = isinstance(error, ConnectionRefusedError | FileNotFoundError)
        raise NoAgent(f"{path}: {error.strerror or error}", stopped=stopped) from None
    except ValueError:
        raise NoAgent(f"{path}: the answer is broken off, or no JSON") from None
    if not isinstance(answer, dict) or answer.get("version") != 1:
        raise NoAgent(f"{path}: answers in a version that is not known here")
    return answer
