"""NAT-PMP (RFC 6886): what stands in its datagrams. Pure.

Two questions belong together: what the router's public address is, and a mapping to one of its ports.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from .actions import Trouble

VERSION = 0
_ADDRESS, _MAP_UDP, _REPLY = 0, 1, 128  # opcodes; a reply has the highest bit set
_NO_SUCH_VERSION = 1  # result codes
_NO_ADDRESS = 3
_WHY = {
    2: "not allowed",
    _NO_ADDRESS: "it has no public address",
    4: "no room for more mappings",
    5: "request not supported",
}

ASK_ADDRESS = struct.pack("!BB", VERSION, _ADDRESS)


@dataclass(frozen=True, slots=True)
class Address:
    """The router's public address; said to all when the router starts or its address changes."""

    ip: IPv4Address
    epoch: int  # s since the router's mappings were last empty


@dataclass(frozen=True, slots=True)
class Mapped:
    """`lifetime` in s; 0 is the answer to a release."""

    internal_port: int
    external_port: int
    lifetime: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Refused:
    """`mapping`: the request was one for a mapping."""

    mapping: bool
    trouble: Trouble
    why: str


@dataclass(frozen=True, slots=True)
class NoPcp:
    """A router that knows nothing newer answers so to PCP (section 3.5)."""


def ask_mapping(internal_port: int, external_port: int, lifetime: int) -> bytes:
    """Request a UDP mapping (section 3.3) for `lifetime` s; 0 of both releases it. External port 0: any."""
    return struct.pack("!BBHHHI", VERSION, _MAP_UDP, 0, internal_port, external_port, lifetime)


def decode(data: bytes) -> Address | Mapped | Refused | NoPcp | None:  # noqa: PLR0911 - one for each answer
    """A router's datagram; None if it is no answer to anything we ask."""
    if len(data) < 8:
        return None
    version, opcode, result, epoch = struct.unpack_from("!BBHI", data)
    if version != VERSION or not opcode & _REPLY:
        return None
    if result == _NO_SUCH_VERSION:
        return NoPcp()
    if result:
        trouble = Trouble.PRIVATE if result == _NO_ADDRESS else Trouble.REFUSED
        return Refused(opcode != _REPLY | _ADDRESS, trouble, _WHY.get(result, f"error {result}"))
    if opcode == _REPLY | _ADDRESS and len(data) >= 12:
        return Address(IPv4Address(data[8:12]), epoch)
    if opcode == _REPLY | _MAP_UDP and len(data) >= 16:
        internal, external, lifetime = struct.unpack_from("!HHI", data, 8)
        return Mapped(internal, external, lifetime, epoch)
    return None
