"""DNS names to endpoints, off the main thread: the system's resolver may take as long as it likes."""

from __future__ import annotations

import os
import queue
import socket
import threading
from dataclasses import dataclass
from ipaddress import ip_address

from .values import Endpoint, Key

WORKERS = 4  # threads at most, so that one name whose server hangs does not hold up the others
MAX_ADDRESSES = 8  # of one name


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
        self._heard, self._tell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._questions: queue.SimpleQueue[Question] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._open: set[Question] = set()
        self._workers = 0

    def fileno(self) -> int:
        return self._heard

    def ask(self, key: Key, host: str, port: int) -> None:
        question = Question(key, host, port)
        if question in self._open:
            return
        self._open.add(question)
        self._questions.put(question)
        if self._workers < min(WORKERS, len(self._open)):
            self._workers += 1
            threading.Thread(target=self._work, name="resolver", daemon=True).start()

    def answers(self) -> list[Answer]:
        os.read(self._heard, 4096)
        answers = []
        while not self._answers.empty():
            answer = self._answers.get()
            self._open.discard(Question(answer.key, answer.host, answer.port))
            answers.append(answer)
        return answers

    def _work(self) -> None:
        while True:
            self._answers.put(resolve(self._questions.get()))
            os.write(self._tell, b".")


def resolve(question: Question) -> Answer:
    key, host, port = question.key, question.host, question.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        return Answer(key, host, port, error=getattr(error, "strerror", None) or str(error))
    endpoints = dict.fromkeys(Endpoint(ip_address(address[0]), port) for *_, address in found)
    return Answer(key, host, port, tuple(endpoints)[:MAX_ADDRESSES])
