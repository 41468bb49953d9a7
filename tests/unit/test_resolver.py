"""Names become endpoints while the main thread goes on, however long the system's resolver takes."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from wgautomesh.resolver import MAX_ADDRESSES, WORKERS, Answer, Resolver
from wgautomesh.values import KEY_SIZE, Endpoint, Key

A, B = Key(b"a" * KEY_SIZE), Key(b"b" * KEY_SIZE)
V4, V6 = socket.AF_INET, socket.AF_INET6


class Dns:
    """Stands in for the system's resolver; names that begin with "slow" wait for `release`."""

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {"hub": ["192.0.2.1", "2001:db8::1", "192.0.2.1"]}
        self.asked: list[str] = []
        self.release = threading.Event()

    def getaddrinfo(self, host: str, port: int, **options: object) -> list[tuple[Any, ...]]:
        assert options == {"type": socket.SOCK_DGRAM}
        self.asked.append(host)
        if host.startswith("slow"):
            self.release.wait(5)
        if host == "odd":
            raise UnicodeError("label too long")
        if host not in self.records:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(V6 if ":" in ip else V4, 2, 17, "", (ip, port)) for ip in self.records[host]]


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dns]:
    dns = Dns()
    monkeypatch.setattr(socket, "getaddrinfo", dns.getaddrinfo)
    yield dns
    dns.release.set()


@pytest.fixture
def resolver(dns: Dns) -> Iterator[Resolver]:
    resolver = Resolver()
    yield resolver
    resolver.close()


def wait(resolver: Resolver, count: int = 1) -> list[Answer]:
    answers: list[Answer] = []
    while len(answers) < count:
        assert select.select([resolver], [], [], 5)[0], "no answer within 5 s"
        answers += resolver.answers()
    return answers


def test_a_name_becomes_its_endpoints(resolver: Resolver) -> None:
    resolver.ask(A, "hub", 51820)
    endpoints = (Endpoint(ip_address("192.0.2.1"), 51820), Endpoint(ip_address("2001:db8::1"), 51820))
    assert wait(resolver) == [Answer(A, "hub", 51820, endpoints)]


@pytest.mark.parametrize(
    ("host", "error"), [("nowhere", "Name or service not known"), ("odd", "label too long")]
)
def test_a_failure_is_an_answer(resolver: Resolver, host: str, error: str) -> None:
    resolver.ask(A, host, 1)
    assert wait(resolver) == [Answer(A, host, 1, (), error)]


def test_link_local_addresses_and_too_many_are_left_out(resolver: Resolver, dns: Dns) -> None:
    dns.records["many"] = ["fe80::1%eth0", *(f"192.0.2.{number}" for number in range(1, 100))]
    dns.records["local"] = ["fe80::1%eth0"]
    resolver.ask(A, "many", 1)
    (many,) = wait(resolver)
    assert [str(each.ip) for each in many.endpoints] == [f"192.0.2.{n + 1}" for n in range(MAX_ADDRESSES)]
    resolver.ask(A, "local", 1)
    assert wait(resolver) == [Answer(A, "local", 1, (), "no usable address")]


def test_with_nothing_to_tell_it_does_not_wait(resolver: Resolver) -> None:
    assert resolver.answers() == []
    assert select.select([resolver], [], [], 0)[0] == []
    resolver.ask(A, "hub", 1)
    wait(resolver)
    assert resolver.answers() == [] and select.select([resolver], [], [], 0)[0] == []


def test_a_question_under_way_is_not_asked_again(resolver: Resolver, dns: Dns) -> None:
    for _ in range(3):
        resolver.ask(A, "slow", 1)
    resolver.ask(B, "slow", 1)
    dns.release.set()
    assert {each.key for each in wait(resolver, 2)} == {A, B}
    assert dns.asked == ["slow", "slow"]
    resolver.ask(A, "slow", 1)
    wait(resolver)
    assert dns.asked == ["slow"] * 3


def test_names_that_hang_hold_up_nobody_while_a_worker_is_left(resolver: Resolver, dns: Dns) -> None:
    for number in range(WORKERS - 1):
        resolver.ask(A, f"slow{number}", 1)
    for port in range(1, 10):
        resolver.ask(A, "hub", port)
    assert {each.host for each in wait(resolver, 9)} == {"hub"}


def test_there_are_never_more_workers_than_allowed(dns: Dns) -> None:
    before = set(threading.enumerate())

    def workers() -> int:
        return len(set(threading.enumerate()) - before)

    resolver = Resolver()
    resolver.ask(A, "hub", 1)
    wait(resolver)
    assert workers() == 1
    for number in range(50):
        resolver.ask(A, f"slow{number}", 1)
    assert workers() == WORKERS
    resolver.close()


def test_closing_ends_the_workers_even_those_that_hang_later(dns: Dns) -> None:
    before = set(threading.enumerate())
    resolver = Resolver()
    resolver.ask(A, "hub", 1)
    wait(resolver)
    resolver.ask(A, "slow", 1)
    resolver.ask(A, "hub", 2)
    resolver.close()
    dns.release.set()
    workers = set(threading.enumerate()) - before
    for worker in workers:
        worker.join(5)
    assert not any(worker.is_alive() for worker in workers)


def test_a_resolver_that_hangs_does_not_keep_the_process_alive() -> None:
    code = (
        "import socket, time; socket.getaddrinfo = lambda *_, **__: time.sleep(60)\n"
        "from wgautomesh.resolver import Resolver\n"
        "for port in range(9): Resolver().ask(b'k', 'h', port)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=5, check=False).returncode == 0
