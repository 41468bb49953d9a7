"""The LAN sockets: one for each LAN device, bound to it, on the gossip port.

What is said through them stands in `beacon.py`.
"""

from __future__ import annotations

import logging
import selectors
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from .beacon import Beacons, Found
from .messages import MAX_DATAGRAM
from .seal import Seal
from .values import Endpoint, Key
from .watch import Interface

log = logging.getLogger(__name__)

BEACON_INTERVAL = 60.0  # s
BATCH = 32  # datagrams of one socket in a turn of the loop
CHANGE_BEACONS = (0.0, 1.0)  # s after a change: the second, because a cable or Wi-Fi may not carry the first


@dataclass(slots=True)
class _Port:
    interface: Interface
    socket: socket.socket


class Lan:
    """Beacons on all LAN devices. Findings go to `found`; sockets are registered with the selector given."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        seal: Seal,
        port: int,
        found: Callable[[Key, Endpoint, float], None],
    ) -> None:
        self._selector = selector
        self._seal = seal
        self._port = port
        self._found = found
        self._ports: dict[int, _Port] = {}  # by interface index
        self._beacons: Beacons | None = None
        self._wireguard_port = 0
        self._due: list[float] = []

    def identify(self, beacons: Beacons, wireguard_port: int) -> None:
        """Who we are, as soon as the interface tells."""
        self._beacons = beacons
        self._wireguard_port = wireguard_port

    def update(self, interfaces: Iterable[Interface], now: float) -> None:
        """The LAN devices there are now; called at start and whenever the network changed."""
        wanted = {each.index: each for each in interfaces if each.broadcasts}
        for index in [index for index, port in self._ports.items() if wanted.get(index) != port.interface]:
            self._close(index)
        for index, interface in wanted.items():
            if index not in self._ports:
                self._open(interface)
        self._due = [now + delay for delay in CHANGE_BEACONS]

    @property
    def is_open(self) -> bool:
        return bool(self._ports)

    def close(self) -> None:
        for index in list(self._ports):
            self._close(index)

    def next_tick(self) -> float:
        return min(self._due, default=float("inf")) if self._beacons else float("inf")

    def tick(self, now: float) -> None:
        if self._beacons is None or now < self.next_tick():
            return
        self._due = [due for due in self._due if due > now] or [now + BEACON_INTERVAL]
        for index, port in list(self._ports.items()):
            plain = self._beacons.beacon([each.ip for each in port.interface.addresses])
            for broadcast in port.interface.broadcasts:
                self._send(index, plain, str(broadcast))

    def _open(self, interface: Interface) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            # Shared, so that the agents of two meshes on one host both hear broadcasts. Never REUSEPORT.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.name.encode())
            sock.bind(("", self._port))
        except OSError as error:
            sock.close()
            log.warning("no LAN discovery on %s: %s", interface.name, error)
            return
        self._ports[interface.index] = _Port(interface, sock)
        self._selector.register(sock, selectors.EVENT_READ, lambda now: self._hear(interface.index, now))
        log.debug("LAN discovery on %s", interface.name)

    def _close(self, index: int) -> None:
        port = self._ports.pop(index)
        self._selector.unregister(port.socket)
        port.socket.close()

    def _send(self, index: int, plain: bytes, to: str) -> None:
        try:
            self._ports[index].socket.sendto(self._seal.seal(plain), (to, self._port))
        except OSError as error:
            log.debug("LAN datagram to %s: %s", to, error)

    def _hear(self, index: int, now: float) -> None:
        for _ in range(BATCH):
            port = self._ports.get(index)
            if port is None or self._beacons is None:
                return
            try:
                sealed, (host, source_port) = port.socket.recvfrom(MAX_DATAGRAM + 1)
            except OSError:  # nothing more, or the device went away: the watcher tells
                return
            source = IPv4Address(host)
            own = [each.ip for each in port.interface.addresses]
            on_link = any(source in each.network for each in port.interface.addresses if each.version == 4)
            if source in own or not on_link or source_port != self._port:
                continue
            plain = self._seal.open(sealed)
            if plain is None:
                continue
            for each in self._beacons.receive(plain, source, own, self._wireguard_port, now):
                if isinstance(each, Found):
                    self._found(each.key, each.endpoint, now)
                else:
                    self._send(index, each.plain, str(each.to))
