"""Serves requests on stream sockets from the agent's own loop: nobody who asks can hold it up.

A request is a row of bytes with a known end, the answer an iterator of pieces that is drawn from only as
fast as the asker reads, and for a few milliseconds in one turn of the loop. What is asked and answered
stands in `control.py` and `metrics.py`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from .log import Once

log = logging.getLogger(__name__)

MAX_CLIENTS = 16  # at once; one more, and the one that was idle longest has to go
MAX_REQUEST = 8192  # bytes; who sends more without an end is no client of ours
MAX_WAITING = 64 * 1024  # bytes made but not yet read; a client that reads nothing costs no more
SLICE = 0.005  # s of making answers, in one turn of the loop, for all clients together
REQUEST_TIME = 10.0  # s a connection may be without a request
ANSWER_TIME = 30.0  # s for an answer to be read
RETRY = 1.0  # s until we accept again after we could not

# Bytes to send, or, as a number, the time (s) until which there is nothing to send.
Answer: TypeAlias = Iterator[bytes | float]


@dataclass(slots=True, eq=False)
class _Client:
    socket: socket.socket
    deadline: float
    request: bytearray = field(default_factory=bytearray)
    waiting: bytearray = field(default_factory=bytearray)  # to be sent
    answer: Answer | None = None
    resume: float = 0.0  # the answer has nothing to say before
    events: int = 0  # registered for

    @property
    def has_room(self) -> bool:
        return self.answer is not None and len(self.waiting) < MAX_WAITING


class Server:
    """`answer` gets a request without its `end`. With `once`, a connection ends after its first answer."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        listener: socket.socket,
        answer: Callable[[bytes, float], Answer],
        *,
        end: bytes = b"\n",
        once: bool = False,
    ) -> None:
        self._selector = selector
        self._listener = listener
        self._answer = answer
        self._end = end
        self._once = once
        self._clients: list[_Client] = []  # the next to be served first
        self._accept_due: float | None = None
        self._trouble = Once(log)
        self._listen()

    def close(self) -> None:
        for client in list(self._clients):
            self._drop(client)
        if self._accept_due is None:
            self._selector.unregister(self._listener)
        self._listener.close()

    def next_due(self) -> float:
        due = [each.resume for each in self._clients if each.has_room]
        due += [each.deadline for each in self._clients]
        if self._accept_due is not None:
            due.append(self._accept_due)
        return min(due, default=float("inf"))

    def turn(self, now: float) -> None:
        """Make a slice of what was asked for, in turn for all who asked."""
        if self._accept_due is not None and now >= self._accept_due:
            self._listen()
        for client in [each for each in self._clients if now >= each.deadline]:
            self._drop(client)
        ends = time.monotonic() + SLICE
        while time.monotonic() < ends:
            able = [each for each in self._clients if each.has_room and each.resume <= now]
            if not able:
                break
            client = able[0]
            self._clients.remove(client)
            self._clients.append(client)
            if self._make(client, now, ends):
                self._send(client, now)
            else:
                self._drop(client)

    def _make(self, client: _Client, now: float, ends: float) -> bool:
        """Add to what waits to be sent; False if the answer cannot go on."""
        while client.has_room and client.resume <= now:
            assert client.answer is not None  # noqa: S101 - has room
            try:
                piece = next(client.answer, None)
            except Exception:  # a mistake of ours in telling of the mesh must not cost the mesh
                log.exception("an answer broke off")
                return False
            if piece is None:
                client.answer = None
            elif isinstance(piece, float):
                client.resume = piece
            else:
                client.waiting += piece
            if time.monotonic() >= ends:
                break
        return True

    # -- sockets --------------------------------------------------------------------------------------

    def _listen(self) -> None:
        self._accept_due = None
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self, now: float) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EINTR):
                self._trouble.say("accept", f"cannot answer more clients: {error.strerror}")
                self._selector.unregister(self._listener)
                self._accept_due = now + RETRY
            return
        self._trouble.over("accept")
        accepted.setblocking(False)
        if len(self._clients) >= MAX_CLIENTS:
            self._drop(min(self._clients, key=lambda each: (each.answer is not None, each.deadline)))
        client = _Client(accepted, now + REQUEST_TIME)
        self._clients.append(client)
        self._register(client)

    def _ready(self, client: _Client, now: float) -> None:
        if client not in self._clients:
            return  # dropped in this very turn of the loop
        if client.waiting:
            self._send(client, now)
        elif client.answer is None:
            self._hear(client, now)

    def _hear(self, client: _Client, now: float) -> None:
        try:
            heard = client.socket.recv(MAX_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        if not heard:
            self._drop(client)
            return
        client.request += heard
        self._take(client, now)

    def _take(self, client: _Client, now: float) -> None:
        """Begin with the next request, if it is complete."""
        request, end, rest = client.request.partition(self._end)
        if end:
            client.request = rest
            client.answer = self._answer(bytes(request), now)
            client.deadline, client.resume = now + ANSWER_TIME, 0.0
        elif len(client.request) > MAX_REQUEST:
            self._drop(client)
            return
        self._register(client)

    def _send(self, client: _Client, now: float) -> None:
        try:
            if client.waiting:
                del client.waiting[: client.socket.send(client.waiting)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)
            return
        if client.answer is None and not client.waiting:
            if self._once:
                self._drop(client)
                return
            client.deadline = now + REQUEST_TIME
            self._take(client, now)  # it may have sent the next one already
        else:
            self._register(client)

    def _register(self, client: _Client) -> None:
        """Listen for what can be used now: nothing at all while an answer is being made."""
        asks = client.answer is None and not client.waiting
        events = selectors.EVENT_WRITE if client.waiting else selectors.EVENT_READ if asks else 0
        if events == client.events:
            return
        if client.events:
            self._selector.unregister(client.socket)
        if events:
            self._selector.register(client.socket, events, lambda now: self._ready(client, now))
        client.events = events

    def _drop(self, client: _Client) -> None:
        self._clients.remove(client)
        if client.events:
            self._selector.unregister(client.socket)
        with contextlib.suppress(OSError):
            client.socket.close()
