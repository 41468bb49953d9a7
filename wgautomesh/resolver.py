"""DNS names to endpoints, off the main thread: the system's resolver may take as long as it likes."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import selectors
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from .log import Once
from .values import Endpoint, Key

WORKERS = 4  # threads at most, so that one name whose server hangs does not hold up the others
MAX_ADDRESSES = 8  # of one name
MAX_OPEN = 4096  # questions; the core asks again on its next attempt


log = logging.getLogger(__name__)


class Names:
    """Host names of members. What was found goes to `found`; what does not resolve is logged once."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        found: Callable[[Key, Sequence[Endpoint], float], None],
    ) -> None:
        self._selector = selector
        self._found = found
        self._once = Once(log)
        self._resolver: Resolver | None = None

    def ask(self, key: Key, host: str, port: int) -> None:
        if self._resolver is None:
            self._resolver = Resolver()
            self._selector.register(self._resolver, selectors.EVENT_READ, self._hear)
        self._resolver.ask(key, host, port)

    def _hear(self, now: float) -> None:
        for answer in self._resolver.answers() if self._resolver else ():
            if answer.error:
                self._once.say(answer.host, f"{answer.host} does not resolve: {answer.error}")
            else:
                self._once.over(answer.host)
            if answer.endpoints:
                self._found(answer.key, answer.endpoints, now)


@dataclass(frozen=True, slots=True)
class Question:
    key: Key
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Answer:
    key: Key
    host: str
    port: int
    endpoints: tuple[Endpoint, ...] = ()
    error: str | None = None


class Resolver:
    """Ask, and read the answers when `fileno` is readable. A question under way is not asked again."""

    def __init__(self) -> None:
        self._told = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._questions: queue.SimpleQueue[Question | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._open: set[Question] = set()
        self._workers = 0
        self._closing = threading.Lock()  # nobody tells a descriptor that is another's by now
        self._closed = False

    def fileno(self) -> int:
        return self._told

    def ask(self, key: Key, host: str, port: int) -> None:
        question = Question(key, host, port)
        if question in self._open or len(self._open) >= MAX_OPEN:
            return
        self._open.add(question)
        self._questions.put(question)
        if self._workers < min(WORKERS, len(self._open)):
            self._workers += 1
            threading.Thread(target=self._work, name="resolver", daemon=True).start()

    def answers(self) -> list[Answer]:
        """What has been found out since the last call; never waits."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._told)
        answers = []
        while not self._answers.empty():
            answer = self._answers.get()
            self._open.discard(Question(answer.key, answer.host, answer.port))
            answers.append(answer)
        return answers

    def close(self) -> None:
        """Waits for nobody: a worker that hangs ends with its question, or with the process."""
        with self._closing:
            self._closed = True
            os.close(self._told)
        for _ in range(self._workers):
            self._questions.put(None)

    def _work(self) -> None:
        while (question := self._questions.get()) and not self._closed:
            self._answers.put(resolve(question))
            with self._closing:
                if not self._closed:
                    os.eventfd_write(self._told, 1)


def resolve(question: Question) -> Answer:
    key, host, port = question.key, question.host, question.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, ValueError) as error:  # ValueError: a name that cannot be one, by IDNA's rules
        return Answer(key, host, port, error=getattr(error, "strerror", None) or str(error))
    ips = [ip_address(str(address[0]).partition("%")[0]) for *_, address in found]
    # DNS cannot say on which of our interfaces a link-local address would be.
    endpoints = dict.fromkeys(Endpoint(ip, port) for ip in ips if not ip.is_link_local)
    if not endpoints:
        return Answer(key, host, port, error="no usable address")
    return Answer(key, host, port, tuple(endpoints)[:MAX_ADDRESSES])
