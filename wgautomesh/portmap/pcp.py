"""The Port Control Protocol (RFC 6887): what stands in its datagrams. Pure.

The same request opens a port of a NAT (IPv4) and a pinhole in a firewall (IPv6). A mapping belongs to
whoever knows its nonce.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from ..values import Endpoint, IPAddress
from .actions import Trouble

VERSION = 2
NONCE_SIZE = 12  # bytes
MAX_SIZE = 1100  # bytes (section 7)
_ANNOUNCE, _MAP, _REPLY = 0, 1, 128  # opcodes; a reply has the highest bit set
_UDP = 17
_HEADER, _MAP_BODY = 24, 36  # bytes
_NO_SUCH_VERSION, _NO_ADDRESS, _TAKEN = 1, 7, 11  # result codes (section 7.4)
_TROUBLE = {_NO_ADDRESS: Trouble.PRIVATE, _TAKEN: Trouble.TAKEN}
_WHY = {
    _NO_SUCH_VERSION: "version not supported",
    2: "not allowed",
    3: "malformed request",
    4: "request not supported",
    5: "option not supported",
    6: "malformed option",
    _NO_ADDRESS: "it has no public address",
    8: "no room for more mappings",
    9: "UDP not supported",
    10: "too many mappings of this host",
    _TAKEN: "port taken",
    12: "a NAT stands between us and the router",
    13: "too many peers",
}


@dataclass(frozen=True, slots=True)
class Announcement:
    """The router lives; said to all when it starts or its public address changes (section 14)."""

    epoch: int  # s since the router's mappings were last empty


@dataclass(frozen=True, slots=True)
class Mapped:
    """`lifetime` in s; 0 is the answer to a release."""

    nonce: bytes
    internal_port: int
    external: Endpoint
    lifetime: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Refused:
    """`mapping`: the request was one for a mapping."""

    mapping: bool
    trouble: Trouble
    why: str


def ask_announcement(client: IPAddress) -> bytes:
    """Ask whether the router lives and what its epoch is."""
    return _header(_ANNOUNCE, 0, client)


def ask_mapping(client: IPAddress, nonce: bytes, port: int, suggested: Endpoint, lifetime: int) -> bytes:
    """Request a UDP mapping (section 11.1) to `client`:`port` for `lifetime` s; 0 releases it.

    `client` must be the address the datagram is sent from. Port 0 and an address of zeros in `suggested`
    leave the choice to the router.
    """
    body = struct.pack("!12sB3xHH16s", nonce, _UDP, port, suggested.port, _wide(suggested.ip))
    return _header(_MAP, lifetime, client) + body


def decode(data: bytes) -> Announcement | Mapped | Refused | None:
    """A router's datagram; None if it is no answer to anything we ask."""
    if not _HEADER <= len(data) <= MAX_SIZE:
        return None
    version, opcode, result, lifetime, epoch = struct.unpack_from("!BBxBII", data)
    if not opcode & _REPLY or not (version == VERSION or result == _NO_SUCH_VERSION):
        return None
    if result:
        trouble = _TROUBLE.get(result, Trouble.REFUSED)
        return Refused(opcode == _REPLY | _MAP, trouble, _WHY.get(result, f"error {result}"))
    if opcode == _REPLY | _ANNOUNCE:
        return Announcement(epoch)
    if opcode == _REPLY | _MAP and len(data) >= _HEADER + _MAP_BODY:
        nonce, protocol, internal, port, ip = struct.unpack_from("!12sB3xHH16s", data, _HEADER)
        if protocol == _UDP:
            return Mapped(nonce, internal, Endpoint(_narrow(ip), port), lifetime, epoch)
    return None


def _header(opcode: int, lifetime: int, client: IPAddress) -> bytes:
    return struct.pack("!BB2xI16s", VERSION, opcode, lifetime, _wide(client))


def _wide(ip: IPAddress) -> bytes:
    """16 bytes; IPv4 stands in them as `::ffff:192.0.2.1` (section 5)."""
    return ip.packed if isinstance(ip, IPv6Address) else b"\0" * 10 + b"\xff\xff" + ip.packed


def _narrow(packed: bytes) -> IPAddress:
    ip = IPv6Address(packed)
    return ip.ipv4_mapped or ip


def anywhere(version: int) -> Endpoint:
    """The suggestion that leaves the choice to the router."""
    return Endpoint(IPv4Address(0) if version == 4 else IPv6Address(0), 0)
