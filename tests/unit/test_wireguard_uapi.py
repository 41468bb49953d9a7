"""Userspace WireGuard: the line protocol, and what we do with a process at the other end that misbehaves."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult_base

from wgautomesh.values import Endpoint, Key, Peer
from wgautomesh.wireguard import changes, uapi
from wgautomesh.wireguard.changes import Change
from wgautomesh.wireguard.uapi import UserspaceWireGuard, format_changes, parse_device, split_answer

from .test_wireguard_netlink import peers

A_KEY = Key(bytes(range(32)))
PRIVATE = bytes([7] * 32)


def interface_index(name: str) -> int:
    if name == "eth0":
        return 3
    raise OSError(errno.ENODEV, name)


def as_the_process_answers(some: list[Peer]) -> bytes:
    """What `get=1` is answered with, written from the protocol's description, less the errno."""
    lines = [f"private_key={PRIVATE.hex()}", "listen_port=51820", "fwmark=1"]
    for peer in some:
        lines += [
            f"public_key={peer.key.hex()}",
            f"preshared_key={(peer.preshared_key or bytes(32)).hex()}",
            "protocol_version=1",
            *([f"endpoint={peer.endpoint}"] if peer.endpoint else []),
            f"last_handshake_time_sec={peer.handshake // 10**9}",
            f"last_handshake_time_nsec={peer.handshake % 10**9}",
            f"tx_bytes={peer.tx_bytes}",
            f"rx_bytes={peer.rx_bytes}",
            f"persistent_keepalive_interval={peer.keepalive}",
            *(f"allowed_ip={network}" for network in peer.allowed_ips),
        ]
    return "".join(line + "\n" for line in lines).encode()


@given(st.lists(peers, max_size=4, unique_by=lambda peer: peer.key))
def test_a_device_is_read_as_the_process_wrote_it(some: list[Peer]) -> None:
    device = parse_device("wg0", 3, as_the_process_answers(some), interface_index)
    assert list(device.peers.values()) == some
    assert (device.name, device.index, device.listen_port) == ("wg0", 3, 51820)
    assert device.key == crypto_scalarmult_base(PRIVATE), "the protocol tells only the private key"


def test_a_new_interface_without_a_key_is_no_error() -> None:
    device = parse_device("wg0", 3, b"private_key=" + b"00" * 32 + b"\nlisten_port=0\n", interface_index)
    assert device.key is None
    assert parse_device("wg0", 3, b"", interface_index).key is None


def test_the_scope_of_an_endpoint_becomes_an_index() -> None:
    def endpoint(text: str) -> Endpoint | None:
        lines = f"public_key={A_KEY.hex()}\nendpoint={text}\n".encode()
        return parse_device("wg0", 3, lines, interface_index).peers[A_KEY].endpoint

    assert endpoint("[fe80::1%eth0]:5") == Endpoint(IPv6Address("fe80::1%3"), 5)
    assert endpoint("[fe80::1%9]:5") == Endpoint(IPv6Address("fe80::1%9"), 5)
    assert endpoint("[fe80::1%gone]:5") is None


def test_unknown_fields_are_skipped() -> None:
    lines = b"future=1\npublic_key=" + A_KEY.hex().encode() + b"\nfuture=2\nrx_bytes=9\n"
    assert parse_device("wg0", 3, lines, interface_index).peers[A_KEY].rx_bytes == 9


@pytest.mark.parametrize(
    "lines",
    [
        b"no equals sign\n",
        b"private_key=00\n",
        b"public_key=xyz\n",
        b"listen_port=1_0\n",
        b"listen_port=" + b"1" * 10000 + b"\n",
        b"public_key=" + b"00" * 32 + b"\nendpoint=1.2.3.4\n",
        b"public_key=" + b"00" * 32 + b"\nendpoint=1.2.3.4:99999\n",
        b"public_key=" + b"00" * 32 + b"\nallowed_ip=10.0.0.0/99\n",
        b"public_key=" + b"00" * 32 + b"\nrx_bytes=\xff\n",
    ],
)
def test_what_makes_no_sense_is_refused(lines: bytes) -> None:
    with pytest.raises(ValueError):
        parse_device("wg0", 3, lines, interface_index)


def test_an_answer_cut_off_anywhere_never_crashes() -> None:
    peer = Peer(A_KEY, Endpoint(IPv4Address("192.0.2.1"), 1), None, 20, (IPv4Network("10.0.0.1/32"),))
    whole = as_the_process_answers([peer]) + b"errno=0\n\n"
    for cut in range(len(whole) - 3):
        with pytest.raises(ValueError):
            split_answer(whole[:cut])
        with suppress(ValueError):
            parse_device("wg0", 3, whole[:cut], interface_index)


@given(st.binary(max_size=100))
def test_noise_never_crashes(noise: bytes) -> None:
    with suppress(ValueError):
        split_answer(noise)
    with suppress(ValueError):
        parse_device("wg0", 3, noise, interface_index)


def test_errno_counts_in_both_directions() -> None:
    assert split_answer(b"errno=-22\n\n") == (b"", 22)
    assert split_answer(b"a=1\nerrno=22\n\n") == (b"a=1\n", 22)
    with pytest.raises(ValueError):
        split_answer(b"errno=99999999999\n\n")


def test_readding_is_one_request_that_first_removes() -> None:
    peer = Peer(
        A_KEY, Endpoint(IPv6Address("fe80::1%3"), 5), bytes([1] * 32), 20, (IPv4Network("10.0.0.1/32"),)
    )
    assert format_changes(changes.readding(peer)).decode() == (
        "set=1\n"
        f"public_key={A_KEY.hex()}\n"
        "remove=true\n"
        f"public_key={A_KEY.hex()}\n"
        f"preshared_key={'01' * 32}\n"
        "endpoint=[fe80::1%3]:5\n"
        "persistent_keepalive_interval=20\n"
        "allowed_ip=10.0.0.1/32\n"
        "\n"
    )


def test_a_plain_change_makes_no_new_peer_and_touches_nothing_else() -> None:
    assert format_changes(changes.updating(A_KEY, None, 0, ())).decode() == (
        f"set=1\npublic_key={A_KEY.hex()}\nupdate_only=true\npersistent_keepalive_interval=0\n\n"
    )


def test_allowed_ips_are_replaced_before_new_ones_are_given() -> None:
    change = Change(A_KEY, replace_allowed_ips=True, allowed_ips=(IPv4Network("10.0.0.1/32"),))
    assert format_changes([change]).decode().endswith("replace_allowed_ips=true\nallowed_ip=10.0.0.1/32\n\n")


# A process at the other end of a real unix socket, one connection after another.

Behaviour = Callable[[socket.socket], None]


class Process:
    def __init__(self, directory: Path) -> None:
        self.requests: list[bytes] = []
        self.behave: Behaviour = lambda connection: None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / "lo.sock"))  # an interface that is everywhere, for its index
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, suppress(OSError):
                    self.requests.append(connection.recv(65536))
                    self.behave(connection)

    def says(self, *answers: bytes) -> None:
        def behave(connection: socket.socket) -> None:
            for answer in answers:
                connection.sendall(answer)

        self.behave = behave

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.close()


@pytest.fixture
def wireguard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UserspaceWireGuard:
    monkeypatch.setattr(uapi, "TIMEOUT", 0.2)
    return UserspaceWireGuard("lo", tmp_path)


def refusal(wireguard: UserspaceWireGuard) -> int | None:
    with pytest.raises(OSError) as caught:
        wireguard.read()
    return caught.value.errno


def test_the_device_comes_over_the_socket_in_pieces(process: Process, wireguard: UserspaceWireGuard) -> None:
    answer = as_the_process_answers([Peer(A_KEY)]) + b"errno=0\n\n"
    process.says(*(answer[at : at + 50] for at in range(0, len(answer), 50)))
    assert list(wireguard.read().peers) == [A_KEY]
    assert wireguard.read().index == socket.if_nametoindex("lo")
    assert process.requests == [b"get=1\n\n"] * 2


def test_changes_go_over_the_socket_and_errors_come_back(
    process: Process, wireguard: UserspaceWireGuard
) -> None:
    process.says(b"errno=0\n\n")
    wireguard.add(Peer(A_KEY))
    wireguard.remove(A_KEY)
    assert process.requests[1] == f"set=1\npublic_key={A_KEY.hex()}\nremove=true\n\n".encode()
    process.says(b"errno=-22\n\n")
    with pytest.raises(OSError) as caught:
        wireguard.update(A_KEY, keepalive=20)
    assert caught.value.errno == errno.EINVAL


def test_without_a_socket_the_interface_is_gone(wireguard: UserspaceWireGuard) -> None:
    assert refusal(wireguard) == errno.ENODEV


def test_a_socket_nobody_listens_on_is_gone_too(wireguard: UserspaceWireGuard, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "lo.sock"))
    assert refusal(wireguard) == errno.ENODEV


def test_a_process_that_dies_while_it_answers_is_gone(
    process: Process, wireguard: UserspaceWireGuard
) -> None:
    process.says(b"private_key=")
    assert refusal(wireguard) == errno.ENODEV


def test_an_interface_that_is_gone_behind_a_live_socket_is_gone(process: Process, tmp_path: Path) -> None:
    process.says(b"errno=0\n\n")
    (tmp_path / "lo.sock").rename(tmp_path / "no-such.sock")
    assert refusal(UserspaceWireGuard("no-such", tmp_path)) == errno.ENODEV


def test_a_process_that_hangs_does_not_hold_us(process: Process, wireguard: UserspaceWireGuard) -> None:
    process.behave = lambda connection: time.sleep(1)
    began = time.monotonic()
    assert refusal(wireguard) == errno.ETIMEDOUT
    assert time.monotonic() - began < 0.8


def test_a_process_that_drips_does_not_hold_us(process: Process, wireguard: UserspaceWireGuard) -> None:
    def drip(connection: socket.socket) -> None:
        for _ in range(40):
            connection.sendall(b"x")
            time.sleep(0.03)

    process.behave = drip
    began = time.monotonic()
    assert refusal(wireguard) == errno.ETIMEDOUT
    assert time.monotonic() - began < 0.8


def test_an_endless_answer_does_not_fill_memory(
    process: Process, wireguard: UserspaceWireGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uapi, "MAX_ANSWER", 100_000)
    process.says(*[b"rx_bytes=1\n" * 1000] * 20)
    assert refusal(wireguard) == errno.EMSGSIZE


def test_garbage_is_an_error_of_its_own(process: Process, wireguard: UserspaceWireGuard) -> None:
    process.says(b"HTTP/1.1 400 Bad Request\r\n\n\n")
    assert refusal(wireguard) == errno.EBADMSG
    process.says(b"public_key=zz\nerrno=0\n\n")
    assert refusal(wireguard) == errno.EBADMSG
