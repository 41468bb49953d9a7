"""The tunnel socket, on the loopback interface: it too can be bound to, and answers for all of 127/8."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from ipaddress import IPv4Address, ip_address

import pytest

from wgautomesh import tunnel as module
from wgautomesh.mute import mute
from wgautomesh.tunnel import MAX_DATAGRAM, Received, Tunnel

A, B, C = (IPv4Address(f"127.0.77.{host}") for host in (1, 2, 3))


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((str(A), 0))
        return int(probe.getsockname()[1])


OpenTunnel = Callable[[IPv4Address], Tunnel]


@pytest.fixture
def at(port: int) -> Iterator[OpenTunnel]:
    with ExitStack() as stack:
        yield lambda address: stack.enter_context(closing(Tunnel("lo", address, port)))


def eventually(tunnel: Tunnel, limit: int = 100) -> list[Received]:
    """What arrives first; nothing arriving at all fails the test that wants something."""
    readable, _, _ = select.select([tunnel], [], [], 1.0)
    return tunnel.receive(limit) if readable else []


class FailingSocket:
    """Fails with the given errnos, one for each try, then sends."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)
        self.sent = 0

    def sendto(self, data: bytes, to: tuple[str, int]) -> None:
        if self.codes:
            code = self.codes.pop(0)
            raise OSError(code, os.strerror(code))
        self.sent += 1

    def close(self) -> None:
        pass


def failing(tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch, *codes: int) -> FailingSocket:
    tunnel.close()
    fake = FailingSocket(*codes)
    monkeypatch.setattr(tunnel, "_socket", fake)
    return fake


def test_a_datagram_arrives_with_its_sender(at: OpenTunnel) -> None:
    a, b = at(A), at(B)
    assert a.send(B, b"hello")
    assert eventually(b) == [Received(A, b"hello")]
    assert b.receive(10) == []


def test_only_the_gossip_port_is_heard(at: OpenTunnel, port: int) -> None:
    a, b = at(A), at(B)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind((str(A), 0))
        stranger.sendto(b"from another port", (str(B), port))
    a.send(B, b"from the right one")
    assert eventually(b) == [Received(A, b"from the right one")]


def test_what_we_send_to_ourselves_is_not_heard(at: OpenTunnel) -> None:
    a, b = at(A), at(B)
    a.send(A, b"echo")
    b.send(A, b"news")
    assert eventually(a) == [Received(B, b"news")]


def test_oversized_datagrams_are_dropped_whole(at: OpenTunnel) -> None:
    a, b = at(A), at(B)
    a.send(B, bytes(MAX_DATAGRAM + 1))
    a.send(B, bytes(60000))
    a.send(B, bytes(MAX_DATAGRAM))
    a.send(B, b"")
    assert [len(each.data or b"") for each in eventually(b)] == [MAX_DATAGRAM, 0]


def test_a_flood_is_taken_in_helpings(at: OpenTunnel) -> None:
    a, b = at(A), at(B)
    for _ in range(30):
        a.send(B, b"x")
    assert [len(b.receive(20)), len(b.receive(20)), len(b.receive(20))] == [20, 10, 0]


def test_who_is_muted_is_not_heard_and_others_are(at: OpenTunnel) -> None:
    a, b, c = at(A), at(B), at(C)
    a.mute([B])
    b.send(A, b"muted")
    c.send(A, b"heard")
    assert [each.data for each in eventually(a)] == [b"heard"]
    a.mute([])
    b.send(A, b"again")
    assert [each.data for each in eventually(a)] == [b"again"]


@pytest.mark.parametrize("others", [(), ("fd00::1", "fd00::2", "::2")])
@pytest.mark.parametrize("muted", [True, False])
def test_an_ipv6_address_is_muted_by_all_of_its_bytes(others: tuple[str, ...], muted: bool) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::1", 0))
        sock.settimeout(0.2)
        mute(sock, [ip_address(each) for each in (*others, *(["::1"] if muted else ["1::1"]))])
        sock.sendto(b"to ourselves", sock.getsockname())
        if muted:
            with pytest.raises(TimeoutError):
                sock.recv(100)
        else:
            assert sock.recv(100) == b"to ourselves"


def test_nobody_listening_is_said_by_the_destination(at: OpenTunnel) -> None:
    a = at(A)
    assert a.send(B, b"anyone?")
    assert eventually(a) == [Received(B, refused=True)]
    assert a.receive(10) == []


def test_a_refusal_wakes_the_selector_until_it_is_taken(at: OpenTunnel) -> None:
    a = at(A)
    for _ in range(3):
        a.send(B, b"anyone?")
    assert len(eventually(a, 1)) == 1
    assert len(eventually(a, 10)) == 2
    assert select.select([a], [], [], 0)[0] == []


def test_a_refusal_by_one_loses_nothing_for_another(at: OpenTunnel) -> None:
    a, c = at(A), at(C)
    a.send(B, b"anyone?")
    time.sleep(0.01)  # the refusal is now pending on the socket
    assert a.send(C, b"hello")
    assert eventually(c) == [Received(A, b"hello")]
    assert a.receive(10) == [Received(B, refused=True)]


def test_a_refusal_does_not_hide_what_has_arrived(at: OpenTunnel) -> None:
    a, c = at(A), at(C)
    c.send(A, b"hello")
    a.send(B, b"anyone?")
    time.sleep(0.01)
    assert a.receive(10) == [Received(C, b"hello"), Received(B, refused=True)]


def extended_error(code: int, origin: int, offender: bytes) -> bytes:
    return struct.pack("=I4B2I", code, origin, 3, 3, 0, 0, 0) + offender


def test_only_icmp_that_refuses_counts_as_refusal() -> None:
    by_b = struct.pack("=HH4s8x", socket.AF_INET, 0, B.packed)
    assert module._refused_by(extended_error(errno.ECONNREFUSED, 2, by_b)) == str(B)
    assert module._refused_by(extended_error(errno.EHOSTUNREACH, 2, by_b)) is None
    assert module._refused_by(extended_error(errno.ECONNREFUSED, 1, by_b)) is None, "a local error"
    v6 = struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, "fd00::2"), 0)
    assert module._refused_by(extended_error(errno.ECONNREFUSED, 3, v6)) == "fd00::2"
    whole = extended_error(errno.ECONNREFUSED, 2, by_b)
    assert all(module._refused_by(whole[:cut]) is None for cut in range(24))


@pytest.mark.parametrize(
    "code",
    [
        errno.EDESTADDRREQ,
        errno.ENOKEY,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EAGAIN,
        errno.ENOBUFS,
        errno.EPERM,
    ],
)
def test_the_ordinary_ways_to_lose_a_datagram_are_no_errors(
    at: OpenTunnel, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    a = at(A)
    failing(a, monkeypatch, *[code] * 9)
    assert not a.send(B, b"lost")


@pytest.mark.parametrize("code", [errno.ENODEV, errno.EBADF, errno.EINVAL])
def test_a_socket_past_use_says_so(at: OpenTunnel, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    a = at(A)
    failing(a, monkeypatch, code)
    with pytest.raises(OSError) as caught:
        a.send(B, b"lost")
    assert caught.value.errno == code


def test_pending_errors_are_sent_past_but_not_for_ever(
    at: OpenTunnel, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = at(A)
    fake = failing(a, monkeypatch, errno.ECONNREFUSED, errno.EHOSTUNREACH)
    assert a.send(B, b"twice")
    assert fake.sent == 1
    fake.codes = [errno.ECONNREFUSED] * 9
    assert not a.send(B, b"never")


def test_the_port_has_one_owner(at: OpenTunnel) -> None:
    at(A)
    with pytest.raises(OSError) as caught:
        at(A)
    assert caught.value.errno == errno.EADDRINUSE


def test_an_address_or_interface_that_is_missing_is_an_error(port: int) -> None:
    with pytest.raises(OSError) as caught:
        Tunnel("lo", IPv4Address("192.0.2.77"), port)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    with pytest.raises(OSError) as caught:
        Tunnel("no-such", A, port)
    assert caught.value.errno == errno.ENODEV


@pytest.mark.parametrize("code", [errno.ENODEV, errno.ENETUNREACH, errno.EINVAL])
def test_an_interface_made_anew_is_gone_whatever_the_kernel_calls_it(
    at: OpenTunnel, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    a = at(A)
    failing(a, monkeypatch, *[code] * 9)
    monkeypatch.setattr("socket.if_nametoindex", lambda name: 4711)
    with pytest.raises(OSError) as caught:
        a.send(B, b"lost")
    assert caught.value.errno == errno.ENODEV
