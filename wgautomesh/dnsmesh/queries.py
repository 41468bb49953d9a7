"""Asks DNS servers many questions at a time, from one thread that may block.

Only messages are dnspython's. A question has a socket, and so a port, of its own (RFC 5452, section 9.2).
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from ..values import Endpoint
from .zone import KEY_LABEL, PORT_LABEL, Answer, HostAnswers, Service, Zone, both, host_names

RESOLV_CONF = Path("/etc/resolv.conf")
MAX_SERVERS = 3  # as the system's resolver (MAXNS in resolv.h)
AT_ONCE = 48  # questions without an answer yet; more, and a small server drops some
TRY_TIMES = (1.0, 2.0, 2.0)  # s until a question is sent again, to the next server
BUDGET = 20.0  # s for one refresh, whatever its servers do
TCP_TIME = 3.0  # s for an answer that does not fit into a datagram
MAX_UDP = 1232  # bytes: what fits through IPv6's minimum MTU


class Question(NamedTuple):
    name: str
    kind: str  # of record, such as TXT


@dataclass(slots=True)
class _Asked:
    question: Question
    query: dns.message.QueryMessage
    tries: int = 0
    error: str = ""
    due: float = 0.0  # when to try again, or give up
    socket: socket.socket | None = None


def fetch(mesh: str, resolver: Endpoint | None) -> Zone:
    """All answers about a mesh. Never raises OSError: what fails is in the answers."""
    deadline = time.monotonic() + BUDGET
    servers = [resolver] if resolver else system_resolvers()
    listing = Question(mesh, "TXT")
    names = ask([listing], servers, deadline)[listing]
    if names.error:
        return Zone(names)
    hosts, _ = host_names(names.values)
    answers = ask([each for host in hosts for each in _questions(host)], servers, deadline)
    return Zone(names, {host: _host(host, answers) for host in hosts})


def system_resolvers(path: Path = RESOLV_CONF) -> list[Endpoint]:
    """The name servers of resolv.conf(5); as there, this machine if none is given."""
    found = []
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] == ["nameserver"] and len(words) > 1:
                with contextlib.suppress(ValueError):
                    found.append(Endpoint(ip_address(words[1]), 53))
    return found[:MAX_SERVERS] or [Endpoint(ip_address("127.0.0.1"), 53)]


def ask(
    questions: Iterable[Question], servers: Sequence[Endpoint], deadline: float
) -> dict[Question, Answer[Any]]:
    """An answer for each question, at `deadline` (s, monotonic) at the latest."""
    with _Asking(questions, servers, deadline) as asking:
        return asking.run()


class _Asking:
    def __init__(self, questions: Iterable[Question], servers: Sequence[Endpoint], deadline: float) -> None:
        self._servers = servers
        self._deadline = deadline
        self._selector = selectors.DefaultSelector()
        self._waiting = deque(dict.fromkeys(questions))
        self._asked: list[_Asked] = []
        self._answers: dict[Question, Answer[Any]] = {}

    def __enter__(self) -> _Asking:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._asked:
            self._hang_up(each)
        self._selector.close()

    def run(self) -> dict[Question, Answer[Any]]:
        while (self._waiting or self._asked) and time.monotonic() < self._deadline:
            while self._waiting and len(self._asked) < AT_ONCE:
                question = self._waiting.popleft()
                query = dns.message.make_query(question.name, question.kind, use_edns=0, payload=MAX_UDP)
                self._asked.append(_Asked(question, query))
                self._try(self._asked[-1])
            due = min((each.due for each in self._asked), default=self._deadline)
            for key, _ in self._selector.select(max(0.0, min(due, self._deadline) - time.monotonic())):
                self._read(key.data)
            now = time.monotonic()
            for each in [each for each in self._asked if each.due <= now]:
                self._try(each)
        for question in [*(each.question for each in self._asked), *self._waiting]:
            self._answers[question] = Answer(error="no answer in time")
        return self._answers

    def _try(self, asked: _Asked) -> None:
        self._hang_up(asked)
        if asked.tries == len(TRY_TIMES):
            self._done(asked, Answer(error=asked.error))
            return
        server = self._server(asked)
        asked.due = time.monotonic() + TRY_TIMES[asked.tries]
        asked.error = asked.error or f"no answer from {server}"
        asked.tries += 1
        try:
            family = socket.AF_INET if server.ip.version == 4 else socket.AF_INET6
            asked.socket = socket.socket(
                family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            )
            asked.socket.connect((str(server.ip), server.port))
            asked.socket.send(asked.query.to_wire())
        except OSError as error:  # no way there: no need to wait
            asked.error, asked.due = f"{server}: {error.strerror}", 0.0
            self._hang_up(asked)
        else:
            self._selector.register(asked.socket, selectors.EVENT_READ, asked)

    def _server(self, asked: _Asked) -> Endpoint:
        return self._servers[asked.tries % len(self._servers)]

    def _read(self, asked: _Asked) -> None:
        if asked.socket is None:
            return
        server = self._servers[(asked.tries - 1) % len(self._servers)]
        try:
            response = _parse(asked.socket.recv(65535))
            if not asked.query.is_response(response):
                return  # somebody guesses
            if response.flags & dns.flags.TC:
                response = _by_tcp(asked.query, server)
        except OSError as error:  # nobody listens there; perhaps it is starting: try again when it is time
            asked.error = f"{server}: {error.strerror or error}"
            self._hang_up(asked)
            return
        except (dns.exception.DNSException, ValueError):
            asked.error = f"{server} answers what is no DNS message"
            return
        answer = read_answer(response, asked.question.kind)
        last = asked.tries == len(TRY_TIMES)
        if answer.error and len(self._servers) > 1 and not last:
            asked.error, asked.due = answer.error, 0.0  # another server may know
        else:
            self._done(asked, answer)

    def _done(self, asked: _Asked, answer: Answer[Any]) -> None:
        self._hang_up(asked)
        self._asked.remove(asked)
        self._answers[asked.question] = answer

    def _hang_up(self, asked: _Asked) -> None:
        if asked.socket is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(asked.socket)
            asked.socket.close()
            asked.socket = None


def read_answer(response: dns.message.Message, kind: str) -> Answer[Any]:
    """The values of the records asked for, following aliases (CNAME); none if there is no such record."""
    code = response.rcode()
    if code == dns.rcode.NXDOMAIN:
        return Answer()
    if code != dns.rcode.NOERROR:
        return Answer(error=dns.rcode.to_text(code))
    try:
        chain = response.resolve_chaining()  # type: ignore[attr-defined]
    except dns.exception.DNSException:
        return Answer(error="an answer to another question")
    if chain.answer is None:
        if not response.flags & (dns.flags.AA | dns.flags.RA):
            return Answer(error="the server refers to others, and does not ask them itself")
        return Answer()
    return Answer(tuple(_value(kind, each) for each in chain.answer), chain.minimum_ttl)


def _parse(wire: bytes) -> dns.message.Message:
    """Question and answers; to decode the other sections, which we do not use, takes most of the time."""
    return dns.message.from_wire(wire[:8] + bytes(4) + wire[12:], ignore_trailing=True)


def _value(kind: str, record: Any) -> object:
    if kind == "TXT":
        return b"".join(record.strings)
    if kind == "SRV":
        return Service(record.priority, record.weight, record.port)
    return ip_address(record.address)


def _by_tcp(query: dns.message.Message, server: Endpoint) -> dns.message.Message:
    """Raises OSError, or a DNSException for what makes no sense."""
    with socket.create_connection((str(server.ip), server.port), TCP_TIME) as connection:
        deadline = time.monotonic() + TCP_TIME
        wire = query.to_wire()
        connection.sendall(len(wire).to_bytes(2, "big") + wire)
        size = int.from_bytes(_exactly(connection, 2, deadline), "big")
        response = _parse(_exactly(connection, size, deadline))
    if not query.is_response(response):
        raise dns.exception.FormError
    return response


def _exactly(connection: socket.socket, size: int, deadline: float) -> bytes:
    data = b""
    while len(data) < size:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        some = connection.recv(size - len(data))
        if not some:
            raise ConnectionResetError(0, "it hung up")
        data += some
    return data


def _questions(host: str) -> list[Question]:
    below = KEY_LABEL + host
    return [
        Question(below, "TXT"),
        *(Question(name, kind) for name in (below, host) for kind in ("A", "AAAA")),
        Question(PORT_LABEL + host, "SRV"),
    ]


def _host(host: str, answers: dict[Question, Answer[Any]]) -> HostAnswers:
    below = KEY_LABEL + host
    return HostAnswers(
        keys=answers[Question(below, "TXT")],
        allowed=both(answers[Question(below, "A")], answers[Question(below, "AAAA")]),
        addresses=both(answers[Question(host, "A")], answers[Question(host, "AAAA")]),
        services=answers[Question(PORT_LABEL + host, "SRV")],
    )
