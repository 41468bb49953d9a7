"""The nouns everything else is said in: keys, endpoints, and WireGuard's own view of a device.

Plain values only: nothing here decides, keeps state or touches the system.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
)
from typing import NewType, TypeAlias

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network
IPInterface: TypeAlias = IPv4Interface | IPv6Interface  # an address with the network it lies in

Key = NewType("Key", bytes)  # a Curve25519 public key, 32 bytes
KEY_SIZE = 32  # bytes
NETWORKS_SHARED = 8192  # by the members and the peers read from a device; more are held twice

_HOST_PORT = re.compile(r"(?:\[(?P<v6>[^\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,20})\Z")
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?\Z")


@lru_cache(maxsize=64)
def host_of(interface: IPInterface) -> IPAddress:
    """The address alone. Unlike the standard library's `.ip` it keeps the scope of a link-local one."""
    return ip_address(str(interface).rpartition("/")[0])


def is_in(ip: IPAddress, interface: IPInterface) -> bool:
    """Whether the address lies in the interface's network; link-local IPv6 only on the same link."""
    if isinstance(ip, IPv6Address) and isinstance(interface, IPv6Interface) and ip.is_link_local:
        return ip in interface.network and ip.scope_id == interface.scope_id
    return ip.version == interface.version and ip in interface.network


def parse_key(text: str) -> Key:
    """A key from the base64 that `wg` prints; ValueError says in words what is wrong with it."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None
    if len(raw) != KEY_SIZE:
        raise ValueError(f"{len(raw)} bytes long, a key has {KEY_SIZE}")
    return Key(raw)


def key_text(key: Key) -> str:
    return base64.b64encode(key).decode("ascii")


def can_be_a_host(ip: IPAddress) -> bool:
    """Whether a host can have this address in a mesh."""
    special = ip.is_multicast or ip.is_loopback or ip.is_unspecified or ip.is_link_local
    return not special and str(ip) != "255.255.255.255"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A UDP address. A link-local IPv6 address keeps its interface index as scope (`fe80::1%3`)."""

    ip: IPAddress
    port: int

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 0xFFFF:
            raise ValueError(f"port {self.port} is not within 0 to 65535")

    def __str__(self) -> str:
        return f"{self.ip}:{self.port}" if self.ip.version == 4 else f"[{self.ip}]:{self.port}"

    def pack(self) -> bytes:
        """4 or 16 bytes of address and 2 of port, big endian. The scope means nothing elsewhere and stays."""
        return self.ip.packed + self.port.to_bytes(2, "big")

    @classmethod
    def unpack(cls, raw: bytes) -> Endpoint:
        """The inverse of `pack`; ValueError unless `raw` is 6 or 18 bytes long."""
        if len(raw) not in (6, 18):
            raise ValueError(f"an endpoint is 6 or 18 bytes long, not {len(raw)}")
        return cls(ip_address(raw[:-2]), int.from_bytes(raw[-2:], "big"))


@dataclass(frozen=True, slots=True)
class HostPort:
    """An endpoint whose host is a DNS name, to be resolved when it is used."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_endpoint(text: str) -> Endpoint | HostPort:
    """`1.2.3.4:51820`, `[2001:db8::1]:51820` or `host.example:51820`; ValueError names the mend."""
    found = _HOST_PORT.match(text)
    if found is None:
        try:
            ip = ip_address(text.strip("[]"))
        except ValueError:
            if text.count(":") > 1:
                raise ValueError('an IPv6 endpoint is written "[2001:db8::1]:51820"') from None
            raise ValueError(f'has no port; write "{text.rstrip(":") or "host"}:51820"') from None
        raise ValueError(f'has no port; write "{Endpoint(ip, 51820)}"')
    port = int(found["port"])
    if not 0 < port <= 0xFFFF:
        raise ValueError(f"port {port} is not within 1 to 65535")
    host = found["v6"] if found["v6"] is not None else found["host"]
    try:
        return Endpoint(ip_address(host), port)
    except ValueError:
        if found["v6"] is not None:
            raise ValueError(f'"{host}" is not an IPv6 address') from None
    if not _HOST_NAME.match(host) or re.fullmatch(r"[0-9.]+", host):
        raise ValueError(f'"{host}" is neither an address nor a host name')
    return HostPort(host, port)


@dataclass(frozen=True, slots=True)
class Member:
    """Who belongs to the mesh, as one of its sources says (`origin`, for a person to read).

    Gossip goes to `address`; `further` addresses are its own as well, and it may speak from them.
    """

    key: Key
    address: IPAddress
    endpoints: tuple[Endpoint | HostPort, ...] = ()  # where to try it, none being better than another
    name: str | None = None
    further: tuple[IPAddress, ...] = ()
    origin: str = "the configuration"
    networks: tuple[IPNetwork, ...] = field(init=False, repr=False, compare=False)
    """The allowed IPs its peer must have: the /32 or /128 of each of its addresses."""

    def __post_init__(self) -> None:
        networks = tuple(network_of(ip.packed, ip.max_prefixlen) for ip in (self.address, *self.further))
        object.__setattr__(self, "networks", networks)

    def __str__(self) -> str:
        return f"{self.name or key_text(self.key)[:10] + '…'} ({self.address})"


_networks: dict[bytes, IPNetwork] = {}  # lru_cache would take 100 bytes more of each


def network_of(address: bytes, length: int) -> IPNetwork:
    """The network of a packed address, the same object each time: one takes 400 bytes."""
    key = b"%b/%d" % (address, length)
    network = _networks.get(key)
    if network is None:
        if len(_networks) >= NETWORKS_SHARED:
            _networks.clear()
        network = (IPv4Network if len(address) == 4 else IPv6Network)((address, length), strict=False)
        _networks[key] = network
    return network


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer of a WireGuard device, as read from it, or as it shall be written.

    `handshake` is the wall-clock time of the last handshake in ns since the epoch (0: never). Only whether
    it changed means anything: wall clocks jump.
    """

    key: Key
    endpoint: Endpoint | None = None
    preshared_key: bytes | None = field(default=None, repr=False)
    keepalive: int = 0  # s, 0 is off
    allowed_ips: tuple[IPNetwork, ...] = ()
    handshake: int = 0
    rx_bytes: int = 0
    tx_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Device:
    """One WireGuard interface at one moment. `key` is None while it has no private key yet."""

    name: str
    index: int
    key: Key | None = None
    private_key: bytes | None = field(default=None, repr=False)
    listen_port: int = 0
    peers: Mapping[Key, Peer] = field(default_factory=dict)
