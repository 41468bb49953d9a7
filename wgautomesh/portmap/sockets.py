"""The sockets toward one router: what it says to us alone, and what it tells its whole LAN.

The first is connected to the router, so the kernel drops what others send; of the rest only what has the
router's address as its source is passed on.
"""

from __future__ import annotations

import logging
import selectors
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TypeAlias

from ..values import IPAddress

log = logging.getLogger(__name__)

SERVER_PORT, CLIENT_PORT = 5351, 5350  # of PCP and NAT-PMP
GROUPS = {4: "224.0.0.1", 6: "ff02::1"}  # where routers announce themselves to clients
SSDP_GROUP, SSDP_PORT = "239.255.255.250", 1900  # where UPnP devices do
MAX_SIZE = 2048  # bytes of a datagram that we look at
BATCH = 16  # datagrams of one socket in a turn of the loop
DATAGRAMS = 100  # of one router in each PERIOD; what it sends beyond, however fast, costs nothing
PERIOD = 1.0  # s

Hear: TypeAlias = Callable[[bytes, float], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where we stand toward a router: `ip` is our address, on the interface of this index."""

    router: IPAddress
    ip: IPAddress
    index: int


class Sockets:
    """`answered` gets what the router says to us, `announced` and `notified` what it tells everybody."""

    def __init__(
        self, selector: selectors.BaseSelector, place: Place, answered: Hear, announced: Hear, notified: Hear
    ) -> None:
        """Raises OSError where there is no way to the router."""
        self._selector = selector
        self._place = place
        self._family = socket.AF_INET if place.router.version == 4 else socket.AF_INET6
        self._hear: dict[socket.socket, Hear] = {}
        self._began, self._count = float("-inf"), 0
        self.due = float("inf")  # when the router is listened to again
        try:
            self._unicast = self._connect(answered)
        except OSError:
            self.close()
            raise
        self._listen(GROUPS[place.router.version], CLIENT_PORT, announced)
        if place.router.version == 4:
            self._listen(SSDP_GROUP, SSDP_PORT, notified)

    def send(self, data: bytes) -> None:
        """No route, or the router's "port unreachable": the caller asks again, and then gives up."""
        with suppress(OSError):
            self._unicast.send(data)

    def tick(self, now: float) -> None:
        if now >= self.due:
            self.due = float("inf")
            for sock in self._hear:
                self._register(sock)

    def close(self) -> None:
        for sock in self._hear:
            with suppress(KeyError):  # not listened to just now
                self._selector.unregister(sock)
            sock.close()
        self._hear.clear()

    def _connect(self, hear: Hear) -> socket.socket:
        place, sock = self._place, self._socket(hear)
        scope = (0, place.index) if place.router.version == 6 and place.router.is_link_local else ()
        sock.bind((str(place.ip), 0))
        sock.connect((str(place.router), SERVER_PORT, *scope))
        return sock

    def _listen(self, group: str, port: int, hear: Hear) -> None:
        """Hear what is sent to a group on our LAN. Without it we only notice a restarted router later."""
        sock = self._socket(hear)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # other programs listen there, too
            packed, index = socket.inet_pton(sock.family, group), self._place.index
            if sock.family == socket.AF_INET:
                member = struct.pack("@4s4si", packed, b"", index)  # struct ip_mreqn, ip(7)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
                sock.bind((group, port))
            else:
                member = struct.pack("@16si", packed, index)  # struct ipv6_mreq, ipv6(7)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
                sock.bind((group, port, 0, index))
        except OSError as error:
            log.debug("port mapping: cannot listen to %s port %d: %s", group, port, error)

    def _socket(self, hear: Hear) -> socket.socket:
        sock = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._hear[sock] = hear
        self._register(sock)
        return sock

    def _register(self, sock: socket.socket) -> None:
        self._selector.register(sock, selectors.EVENT_READ, lambda now: self._receive(sock, now))

    def _receive(self, sock: socket.socket, now: float) -> None:
        if now - self._began >= PERIOD:
            self._began, self._count = now, 0
        for _ in range(BATCH):
            try:
                data, (source, *_) = sock.recvfrom(MAX_SIZE)
            except OSError:  # nothing more, the router has no such port, or this was closed just now
                break
            self._count += 1
            if ip_address(source.partition("%")[0]) == self._place.router:
                self._hear[sock](data, now)
        if self._count >= DATAGRAMS and self.due == float("inf"):
            self.due = self._began + PERIOD
            for each in self._hear:
                self._selector.unregister(each)
