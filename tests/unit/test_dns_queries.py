"""What name servers may do to us: nothing but not answer. The lab has a real one; these only misbehave."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from random import Random

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from wgautomesh.dnsmesh import queries
from wgautomesh.dnsmesh.queries import Question, ask, fetch, system_resolvers
from wgautomesh.dnsmesh.settings import Settings
from wgautomesh.dnsmesh.source import Source, guess_host
from wgautomesh.dnsmesh.zone import Answer, Service
from wgautomesh.values import Endpoint

Reply = Callable[[dns.message.Message], list[bytes]]
NAME = "node-a.example.com"
TEXT = Question(NAME, "TXT")


class Server:
    """Answers on one port: by UDP as `reply` says, by TCP as `long` (None: takes the call in silence)."""

    def __init__(self, reply: Reply, long: Reply | None = None) -> None:
        self.asked: list[str] = []
        self._reply, self._long = reply, long
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self.endpoint = Endpoint(ip_address("127.0.0.1"), self._tcp.getsockname()[1])
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", self.endpoint.port))
        self._open: list[socket.socket] = []
        self._stopped = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._stopped = True
        self._thread.join()
        for each in (self._tcp, self._udp, *self._open):
            each.close()

    def _serve(self) -> None:
        while not self._stopped:
            ready, _, _ = select.select([self._udp, self._tcp], [], [], 0.02)
            if self._udp in ready:
                data, sender = self._udp.recvfrom(4096)
                query = dns.message.from_wire(data)
                self.asked.append(str(query.question[0].name))
                for wire in self._reply(query):
                    self._udp.sendto(wire, sender)
            if self._tcp in ready:
                connection, _ = self._tcp.accept()
                self._open.append(connection)
                query = dns.message.from_wire(connection.recv(4096)[2:])
                for wire in self._long(query) if self._long else ():
                    with contextlib.suppress(OSError):
                        connection.sendall(len(wire).to_bytes(2, "big") + wire)


@pytest.fixture
def server_of() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def build(reply: Reply, long: Reply | None = None) -> Server:
        servers.append(Server(reply, long))
        return servers[-1]

    yield build
    for each in servers:
        each.close()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "TRY_TIMES", (0.1, 0.1))


def answering(*lines: str, flags: int = dns.flags.AA, code: dns.rcode.Rcode = dns.rcode.NOERROR) -> Reply:
    """Replies with these records, such as "node-a.example.com 30 TXT x"."""

    def reply(query: dns.message.Message) -> list[bytes]:
        response = dns.message.make_response(query)
        response.flags |= flags
        response.set_rcode(code)
        for line in lines:
            name, ttl, kind, value = line.split(" ", 3)
            response.answer.append(dns.rrset.from_text(name + ".", int(ttl), "IN", kind, value))
        return [response.to_wire(max_size=65535)]

    return reply


def nothing(_: dns.message.Message) -> list[bytes]:
    return []


def asked(*servers: Server, question: Question = TEXT) -> Answer[object]:
    return ask([question], [each.endpoint for each in servers], time.monotonic() + 5)[question]


def test_values_of_every_kind_with_their_ttl(server_of: Callable[..., Server]) -> None:
    assert asked(server_of(answering(f'{NAME} 30 TXT "two " "parts"'))) == Answer((b"two parts",), 30)
    assert asked(server_of(answering(f'{NAME} 30 TXT "\\255"'))) == Answer((b"\xff",), 30)
    addresses = asked(server_of(answering(f"{NAME} 30 AAAA fd14::1")), question=Question(NAME, "AAAA"))
    assert addresses == Answer((ip_address("fd14::1"),), 30)
    service = asked(server_of(answering(f"{NAME} 30 SRV 1 2 3 x.")), question=Question(NAME, "SRV"))
    assert service == Answer((Service(1, 2, 3),), 30)


def test_an_alias_is_followed_and_its_ttl_counts(server_of: Callable[..., Server]) -> None:
    server = server_of(answering(f"{NAME} 20 CNAME b.example.com.", 'b.example.com 90 TXT "x"'))
    assert asked(server) == Answer((b"x",), 20)


def test_no_such_record_is_an_answer(server_of: Callable[..., Server]) -> None:
    assert asked(server_of(answering())) == Answer()
    assert asked(server_of(answering(code=dns.rcode.NXDOMAIN))) == Answer()


@pytest.mark.parametrize("code", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
def test_a_refusal_is_none(server_of: Callable[..., Server], code: dns.rcode.Rcode) -> None:
    assert asked(server_of(answering(code=code))).error == dns.rcode.to_text(code)


def test_a_mere_referral_does_not_say_that_there_is_nothing(server_of: Callable[..., Server]) -> None:
    assert "refers to others" in asked(server_of(answering(flags=0))).error


def test_silence_garbage_and_guesses_are_no_answer(server_of: Callable[..., Server]) -> None:
    assert "no answer from 127.0.0.1" in asked(server_of(nothing)).error
    assert "no DNS message" in asked(server_of(lambda _: [b"", b"\x00" * 7, b"\xff" * 600])).error

    def guess(query: dns.message.Message) -> list[bytes]:
        query.id ^= 1
        return answering(f'{NAME} 30 TXT "forged"')(query)

    assert "no answer" in asked(server_of(guess)).error


def test_the_right_answer_after_guesses_counts(server_of: Callable[..., Server]) -> None:
    def late(query: dns.message.Message) -> list[bytes]:
        wire = answering(f'{NAME} 30 TXT "true"')(query)[0]
        return [b"garbage", bytes([wire[0] ^ 1]) + wire[1:], wire]

    assert asked(server_of(late)).values == (b"true",)


def test_a_lost_datagram_is_sent_again(server_of: Callable[..., Server]) -> None:
    seen: list[int] = []

    def second(query: dns.message.Message) -> list[bytes]:
        seen.append(query.id)
        return answering(f'{NAME} 30 TXT "x"')(query) if len(seen) > 1 else []

    assert asked(server_of(second)).values == (b"x",)


def test_another_server_is_asked_when_one_fails(server_of: Callable[..., Server]) -> None:
    good = answering(f'{NAME} 30 TXT "x"')
    for bad in (nothing, answering(code=dns.rcode.SERVFAIL)):
        assert asked(server_of(bad), server_of(good)).values == (b"x",)


def test_nobody_there(server_of: Callable[..., Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = Endpoint(ip_address("127.0.0.1"), taken.getsockname()[1])
        answer = ask([TEXT], [server], time.monotonic() + 5)[TEXT]
    assert "refused" in answer.error
    nowhere = Endpoint(ip_address("255.255.255.255"), 53)  # the system refuses to send at all
    began = time.monotonic()
    assert ask([TEXT], [nowhere], began + 5)[TEXT].error
    assert time.monotonic() - began < 0.1


def test_what_does_not_fit_a_datagram_comes_by_tcp(server_of: Callable[..., Server]) -> None:
    lines = [f'{NAME} 30 TXT "node-{number}.a-rather-long-name.example.com"' for number in range(500)]
    answer = asked(server_of(answering(flags=dns.flags.AA | dns.flags.TC), answering(*lines)))
    assert len(answer.values) == 500


@pytest.mark.parametrize("long", [None, lambda _: [b"garbage"], lambda _: [b""]])
def test_tcp_that_leads_nowhere_takes_its_time_and_no_more(
    server_of: Callable[..., Server], long: Reply | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "TCP_TIME", 0.2)
    began = time.monotonic()
    assert asked(server_of(answering(flags=dns.flags.TC), long)).error
    assert time.monotonic() - began < 1.5


def test_a_thousand_questions_to_a_black_hole_end_with_the_deadline(server_of: Callable[..., Server]) -> None:
    server = server_of(nothing)
    began = time.monotonic()
    questions = [Question(f"n{number}.example", "TXT") for number in range(1000)]
    answers = ask(questions, [server.endpoint], began + 0.5)
    assert time.monotonic() - began < 1.0
    assert len(answers) == 1000 and all(each.error for each in answers.values())


def test_one_silent_host_keeps_nobody_else_from_being_read(server_of: Callable[..., Server]) -> None:
    mesh = "_p2p.example.com"

    def reply(query: dns.message.Message) -> list[bytes]:
        name = str(query.question[0].name)
        if "silent" in name:
            return []
        lines = [f'{mesh} 30 TXT "{host}.example.com"' for host in ("a", "silent", "b")]
        return answering(*(lines if name == f"{mesh}." else ()))(query)

    zone = fetch(mesh, server_of(reply).endpoint)
    assert set(zone.hosts) == {"a.example.com", "silent.example.com", "b.example.com"}
    assert [bool(each.keys.error) for each in zone.hosts.values()] == [False, True, False]


def test_where_the_mesh_itself_is_not_answered_no_host_is_asked_for(server_of: Callable[..., Server]) -> None:
    server = server_of(answering(code=dns.rcode.SERVFAIL))
    zone = fetch("_p2p.example.com", server.endpoint)
    assert zone.names.error == "SERVFAIL" and zone.hosts == {}
    assert set(server.asked) == {"_p2p.example.com."}


def test_the_systems_servers(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# x\nsearch a\nnameserver 10.0.0.53\nnameserver nonsense\nnameserver 2001:db8::53\n")
    assert [str(each) for each in system_resolvers(path)] == ["10.0.0.53:53", "[2001:db8::53]:53"]
    assert [str(each) for each in system_resolvers(tmp_path / "none")] == ["127.0.0.1:53"]


def test_whatever_goes_wrong_in_the_thread_is_a_failed_refresh(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def burst(*_: object) -> None:
        raise RuntimeError("burst")

    monkeypatch.setattr(queries, "fetch", burst)
    source = Source(Settings("_p2p.example.com"), None, rng=Random(1), now=0.0)
    source.turn(0.0)
    assert source.next_due() == float("inf")  # one refresh at a time
    select.select([source], [], [], 5.0)
    source.hear(1.0)
    assert 1.0 < source.next_due() < 10.0
    assert "RuntimeError: burst" in caplog.text
    source.close()


def test_a_host_name_is_proposed_in_the_meshs_domain() -> None:
    assert guess_host("_p2p.example.com").endswith(".example.com")
