"""The control socket: one JSON request a line, one JSON answer a line (docs/control.md, control.schema.json).

What is answered is made in `report.py`; how, without anybody waiting, in `stream.py`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import selectors
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from . import graph, report
from .log import Once
from .report import NoSuchPeer, View
from .stream import Answer, Server

log = logging.getLogger(__name__)

FOLDER = Path("/run/wgautomesh")
MODE = 0o660  # of the socket: its owner and group may ask
BACKLOG = 16
RUNTIME_DIRECTORY = "RUNTIME_DIRECTORY"  # set by systemd: folders of this unit, parted by colons


def default_path(interface: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the agent of an interface listens, unless the configuration says otherwise."""
    given = environ.get(RUNTIME_DIRECTORY, "").partition(":")[0]
    return Path(given or FOLDER) / f"{interface}.sock"


class Control:
    """`view` gives what there is to tell, as of now; `survey` goes on asking the members for their links, and
    tells when to be called again, None when it is done. Trouble costs a line in the log, never the agent.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        path: Path,
        view: Callable[[float], View],
        survey: Callable[[float], float | None],
    ) -> None:
        self._selector = selector
        self._path = path
        self._view = view
        self._survey = survey
        self._server: Server | None = None
        self._inode: tuple[int, int] | None = None  # what we bound is ours to remove

    def open(self) -> None:
        try:
            listener = _bind(self._path)
        except OSError as error:
            why = error.strerror or error
            Once(log).say("open", f"no control socket at {self._path}: {why}; going on without")
            return
        status = self._path.stat()
        self._inode = (status.st_dev, status.st_ino)
        self._server = Server(self._selector, listener, self._answer)

    def close(self) -> None:
        if self._server:
            self._server.close()
        with contextlib.suppress(OSError):
            status = self._path.stat()
            if (status.st_dev, status.st_ino) == self._inode:
                self._path.unlink()

    def next_due(self) -> float:
        return self._server.next_due() if self._server else float("inf")

    def turn(self, now: float) -> None:
        if self._server:
            self._server.turn(now)

    def _answer(self, request: bytes, now: float) -> Answer:
        try:
            return self._asked(_parse(request), self._view(now))
        except (ValueError, NoSuchPeer) as error:
            return _whole({"version": report.VERSION, "kind": "error", "error": str(error)})

    def _asked(self, request: dict[str, object], view: View) -> Answer:
        match request.get("ask"):
            case "status":
                return _listed(report.status_head(view), peers=report.peer_rows(view))
            case "explain":
                peer = request.get("peer")
                if not isinstance(peer, str):
                    raise ValueError('"peer" is missing: a name, a mesh address or the beginning of a key')
                return _whole(report.explanation(view, report.find(view, peer)))
            case "graph":
                return self._graph(view.now)
        raise ValueError(f'"ask" is none of {", ".join(ASKS)}')

    def _graph(self, now: float) -> Answer:
        """Ask the members first; what nobody told within a second is left out."""
        while (due := self._survey(now)) is not None:
            yield due
            now = max(now, due)
        view = self._view(now)
        yield from _listed(graph.head(view), nodes=graph.nodes(view), links=graph.pairs(view))


ASKS = ("status", "explain", "graph")


def _parse(request: bytes) -> dict[str, object]:
    try:
        parsed = json.loads(request)
    except (ValueError, RecursionError):
        raise ValueError("not a line of JSON") from None
    if not isinstance(parsed, dict):
        raise ValueError('not a JSON object such as {"ask": "status"}')
    return parsed


def _whole(answer: Mapping[str, object]) -> Answer:
    yield _json(answer) + b"\n"


def _listed(head: Mapping[str, object], **lists: Iterable[Mapping[str, object]]) -> Answer:
    """The head as one object, with the rows of each list in it."""
    yield _json(head)[:-1]
    for name, rows in lists.items():
        yield f', "{name}": ['.encode()
        yield from _parted(rows)
        yield b"]"
    yield b"}\n"


def _parted(rows: Iterable[Mapping[str, object]]) -> Iterator[bytes]:
    comma = b""
    for row in rows:
        yield comma + _json(row)
        comma = b", "


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def _bind(path: Path) -> socket.socket:
    """A listening socket at this path, in place of one that nobody serves any more. Raises OSError."""
    path.parent.mkdir(mode=0o755, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        os.fchmod(listener.fileno(), MODE)  # bind() takes it over: never open to more, not for a moment
        try:
            listener.bind(str(path))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not path.is_socket() or _is_served(path):
                raise
            path.unlink()
            listener.bind(str(path))
        path.chmod(MODE)  # the umask may have taken from it
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except OSError as error:
            return error.errno != errno.ECONNREFUSED
        return True
