"""The sockets of LAN discovery: one IP version on one LAN device. What is said through them is `lan.py`'s.

Two for each: a receiver on the gossip port, which all agents of this host share, and a sender of our own on
an ephemeral port. Everybody hears a broadcast, but a datagram to the shared port alone reaches only one of
the agents there: so whatever begins an exchange leaves from the sender, and answers go where it came from.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from .messages import MAX_DATAGRAM
from .values import IPAddress, is_in
from .watch import Interface

MAX_SENDERS = 1024  # of whom it is known whether they are neighbours; a liar has any number of addresses
ALL_NODES = "ff02::1"  # RFC 4291, 2.7.1: switches that snoop multicast let it through (RFC 4541, 3)


@dataclass(frozen=True, slots=True)
class Heard:
    """A datagram from a neighbour. `address` is what the socket calls its sender."""

    data: bytes
    source: IPAddress
    address: Any


class LanSocket:
    """Bound to the device: it stays deaf when that is deleted. Raises OSError when it cannot be made."""

    def __init__(self, device: Interface, version: int, port: int) -> None:
        self.device = device
        self.version = version
        self._port = port
        self.receiver = _bound(device, version, port)
        try:
            self.sender = _bound(device, version, 0)
        except OSError:
            self.receiver.close()
            raise

    @property
    def device(self) -> Interface:
        """As it is now: the owner keeps it up to date."""
        return self._device

    @device.setter
    def device(self, device: Interface) -> None:
        self._device = device
        # Reading a sender's address, and comparing it with ours, costs more than the datagram.
        self._neighbour = lru_cache(MAX_SENDERS)(self._find_neighbour)

    @staticmethod
    def versions(device: Interface) -> set[int]:
        """The IP versions to look for neighbours with: IPv4 by broadcast, IPv6 from a link-local address."""
        found = {4} if device.broadcasts else set()
        return found | {6 for each in device.addresses if each.version == 6 and each.is_link_local}

    def close(self) -> None:
        self.receiver.close()
        self.sender.close()

    def shout(self, data: bytes) -> None:
        """To all on the LAN, on each of its networks. Raises OSError."""
        if self.version == 6:
            self.sender.sendto(data, (ALL_NODES, self._port, 0, self.device.index))
        else:
            for broadcast in self.device.broadcasts:
                self.sender.sendto(data, (str(broadcast), self._port))

    def answer(self, via: socket.socket, data: bytes, to: Heard, *, opens: bool) -> None:
        """Answer what was heard `via` one of the two. Raises OSError.

        What `opens` an exchange goes from the sender to the other's, and to the shared port as well: that
        one a firewall lets in. Who gets both drops the second.
        """
        if not opens:
            via.sendto(data, to.address)
            return
        host, port, *rest = to.address
        for each in {port: None, self._port: None}:
            self.sender.sendto(data, (host, each, *rest))

    def hear(self, via: socket.socket, limit: int) -> Iterator[Heard]:
        """What came from neighbours, other than ourselves."""
        for _ in range(limit):
            try:
                data, address = via.recvfrom(MAX_DATAGRAM + 1)
            except OSError:  # nothing more, or the device went away: the watcher tells
                return
            source = self._neighbour(address[0], *address[3:])
            if source is not None and len(data) <= MAX_DATAGRAM:
                yield Heard(data, source, address)

    def _find_neighbour(self, host: str, scope: int = 0) -> IPAddress | None:
        """The sender's address, with its scope; None if it is our own, or not on this LAN."""
        bare = host.partition("%")[0]
        source = IPv4Address(bare) if self.version == 4 else IPv6Address(f"{bare}%{scope}")
        ours = [each for each in self.device.addresses if each.version == self.version]
        if any(source.packed == each.packed for each in ours):
            return None
        near = any(is_in(source, each) for each in ours) and (self.version == 4 or source.is_link_local)
        return source if near else None


def _bound(device: Interface, version: int, port: int) -> socket.socket:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.name.encode() + b"\0")
        if version == 4:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if port:
            # Shared, so that the agents of two meshes on one host both hear broadcasts. Never REUSEPORT.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("" if version == 4 else "::", port))
    except OSError:
        sock.close()
        raise
    return sock
