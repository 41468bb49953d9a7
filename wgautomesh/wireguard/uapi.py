"""Userspace WireGuard (wireguard-go and friends), through its UAPI socket: lines of key=value.

The protocol is the "Configuration Protocol" of wireguard.com/xplatform. Formatting and parsing are pure
functions; only `UserspaceWireGuard` touches the socket, which it opens anew for every question.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

from nacl.bindings import crypto_scalarmult_base

from ..values import KEY_SIZE, Device, Endpoint, IPNetwork, Key, Peer
from .changes import Change, adding, readding, removing, updating

SOCKETS = Path("/var/run/wireguard")

TIMEOUT = 2.0  # s for a whole exchange: a daemon that hangs, or drips bytes, must not hold the agent
MAX_ANSWER = 8 << 20  # bytes, some 20,000 peers: a daemon gone wild must not fill our memory

_NO_KEY = bytes(KEY_SIZE)  # how the protocol says "none"
_END = b"\n\n"
_MAX_ERRNO = 4095  # linux/err.h
_NUMBER = re.compile(r"-?[0-9]{1,20}")


class UserspaceWireGuard:
    """One interface of a userspace WireGuard, by name. Implements `WireGuard`.

    OSError ENODEV: the interface or the process behind it is gone. PermissionError: the socket belongs to
    somebody else. ETIMEDOUT, EMSGSIZE, EBADMSG: the process hangs, says too much, makes no sense.
    """

    def __init__(self, name: str, directory: Path = SOCKETS) -> None:
        self._name = name
        self._path = directory / f"{name}.sock"

    def close(self) -> None:
        pass  # nothing is held between two questions

    def read(self) -> Device:
        answer = self._exchange(b"get=1\n\n")
        try:
            index = socket.if_nametoindex(self._name)
        except OSError:
            raise self._gone() from None
        try:
            return parse_device(self._name, index, answer, socket.if_nametoindex)
        except ValueError as malformed:
            raise OSError(errno.EBADMSG, f"{self._path}: {malformed}") from None

    def add(self, *peers: Peer) -> None:
        self._apply([change for peer in peers for change in adding(peer)])

    def update(
        self,
        key: Key,
        *,
        endpoint: Endpoint | None = None,
        keepalive: int | None = None,
        allowed_ips: tuple[IPNetwork, ...] = (),
        replace: bool = False,
    ) -> None:
        self._apply(updating(key, endpoint, keepalive, allowed_ips, replace=replace))

    def readd(self, peer: Peer) -> None:
        self._apply(readding(peer))

    def remove(self, key: Key) -> None:
        self._apply(removing(key))

    def _apply(self, changes: list[Change]) -> None:
        self._exchange(format_changes(changes))

    def _exchange(self, request: bytes) -> bytes:
        """The answer's lines without its errno; OSError if that is not 0."""
        deadline = time.monotonic() + TIMEOUT
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            try:
                connection.settimeout(TIMEOUT)
                connection.connect(os.fspath(self._path))
                connection.sendall(request)
                answer = self._read_answer(connection, deadline)
            except (TimeoutError, BlockingIOError):  # the latter: its queue of connections is full
                raise OSError(errno.ETIMEDOUT, f"{self._path}: no answer within {TIMEOUT:g} s") from None
            except (FileNotFoundError, ConnectionError):
                raise self._gone() from None
        try:
            lines, code = split_answer(answer)
        except ValueError as malformed:
            raise OSError(errno.EBADMSG, f"{self._path}: {malformed}") from None
        if code:
            raise OSError(code, f"{self._path}: {os.strerror(code)}")
        return lines

    def _read_answer(self, connection: socket.socket, deadline: float) -> bytes:
        answer = bytearray()
        while not answer.endswith(_END):
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            some = connection.recv(65536)
            if not some:
                raise ConnectionResetError
            answer += some
            if len(answer) > MAX_ANSWER:
                raise OSError(errno.EMSGSIZE, f"{self._path}: the answer is longer than {MAX_ANSWER} bytes")
        return bytes(answer)

    def _gone(self) -> OSError:
        return OSError(errno.ENODEV, os.strerror(errno.ENODEV), self._name)


def format_changes(changes: Iterable[Change]) -> bytes:
    """One `set` request; the process applies it as a whole, in order."""
    lines = ["set=1"]
    for change in changes:
        lines.append(f"public_key={change.key.hex()}")
        if change.remove:
            lines.append("remove=true")
        if change.update_only:
            lines.append("update_only=true")
        if change.preshared_key is not None:
            lines.append(f"preshared_key={change.preshared_key.hex()}")
        if change.endpoint is not None:
            lines.append(f"endpoint={change.endpoint}")
        if change.keepalive is not None:
            lines.append(f"persistent_keepalive_interval={change.keepalive}")
        if change.replace_allowed_ips:
            lines.append("replace_allowed_ips=true")
        lines.extend(f"allowed_ip={network}" for network in change.allowed_ips)
    return "\n".join(lines).encode() + _END


def split_answer(answer: bytes) -> tuple[bytes, int]:
    """(all other lines, errno) of an answer; ValueError if it has none. wireguard-go counts downwards."""
    lines, found, code = answer.removesuffix(_END).rpartition(b"errno=")
    if not found or (lines and not lines.endswith(b"\n")):
        raise ValueError("an answer that does not end in errno")
    number = abs(_number(code.decode("ascii", "replace")))
    if number > _MAX_ERRNO:
        raise ValueError(f"errno {number}")
    return lines, number


def parse_device(name: str, index: int, lines: bytes, scope_index: Callable[[str], int]) -> Device:
    """The device from the answer to `get`; unknown fields are skipped, ValueError for anything malformed.

    `scope_index` turns an interface's name into its index, or raises OSError: link-local endpoints come with
    names here, and one whose interface is gone is as good as none.
    """
    private_key: bytes | None = None
    listen_port = 0
    peers: dict[Key, Peer] = {}
    values: dict[str, str] = {}
    allowed_ips: list[IPNetwork] = []

    def finish_peer() -> None:
        if values:
            peer = _parse_peer(values, tuple(allowed_ips), scope_index)
            peers[peer.key] = peer
        values.clear()
        allowed_ips.clear()

    for field, value in _fields(lines):
        if field == "public_key":
            finish_peer()
            values[field] = value
        elif field == "allowed_ip":
            allowed_ips.append(ip_network(value, strict=False))
        elif values:
            values[field] = value
        elif field == "private_key":
            private_key = _secret(value)
        elif field == "listen_port":
            listen_port = _number(value)
    finish_peer()
    key = Key(crypto_scalarmult_base(private_key)) if private_key else None
    return Device(name, index, key, private_key, listen_port, peers)


def _fields(lines: bytes) -> Iterator[tuple[str, str]]:
    for line in lines.decode("ascii").splitlines():  # a UnicodeDecodeError is a ValueError
        field, equals, value = line.partition("=")
        if not equals:
            raise ValueError("a line without =")
        yield field, value


def _parse_peer(
    values: dict[str, str], allowed_ips: tuple[IPNetwork, ...], scope_index: Callable[[str], int]
) -> Peer:
    def number(field: str) -> int:
        return _number(values.get(field, "0"))

    return Peer(
        key=Key(_key(values["public_key"])),
        endpoint=_parse_endpoint(values["endpoint"], scope_index) if "endpoint" in values else None,
        preshared_key=_secret(values["preshared_key"]) if "preshared_key" in values else None,
        keepalive=number("persistent_keepalive_interval"),
        allowed_ips=allowed_ips,
        handshake=number("last_handshake_time_sec") * 1_000_000_000 + number("last_handshake_time_nsec"),
        rx_bytes=number("rx_bytes"),
        tx_bytes=number("tx_bytes"),
    )


def _parse_endpoint(text: str, scope_index: Callable[[str], int]) -> Endpoint | None:
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError("an endpoint without a port")
    address, percent, scope = host.strip("[]").partition("%")
    if percent and not scope.isdecimal():
        try:
            scope = str(scope_index(scope))
        except OSError:
            return None
    return Endpoint(ip_address(address + percent + scope), _number(port))


def _number(text: str) -> int:
    """Within the range of the kernel's numbers; Python alone would take "1_0", and a million digits."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number")
    return int(text)


def _key(text: str) -> bytes:
    raw = bytes.fromhex(text)
    if len(raw) != KEY_SIZE:
        raise ValueError(f"a key of {len(raw)} bytes")
    return raw


def _secret(text: str) -> bytes | None:
    raw = _key(text)
    return None if raw == _NO_KEY else raw
