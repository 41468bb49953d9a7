"""The shell around the leases: sockets toward the routers, the UPnP program, and lines in the log.

One lease for each IP version, on the default gateway. Its socket is connected to the router, so the kernel
drops what others send; what routers say to a whole LAN comes through sockets of its own.
"""

from __future__ import annotations

import hashlib
import logging
import selectors
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from random import SystemRandom

from ..candidates import is_private
from ..log import Once
from ..values import Endpoint, IPAddress
from ..watch import Gateway, Interface
from . import pcp
from .actions import Complaint, Datagram, EndUpnp, Opened, Trouble, Upnp, UpnpAnswer, Way, Wish
from .helper import Helper
from .igd import Request
from .lease import LIFETIME, Lease

log = logging.getLogger(__name__)

SERVER_PORT, CLIENT_PORT = 5351, 5350  # of PCP and NAT-PMP
GROUPS = {4: "224.0.0.1", 6: "ff02::1"}  # where routers announce themselves to clients
SSDP_GROUP, SSDP_PORT = "239.255.255.250", 1900  # where UPnP devices do
MAX_SIZE = 2048  # bytes of a datagram that we look at
RETRY = 1.0  # s until a router is tried again that we could not even send to
BATCH = 16  # datagrams of one socket in a turn of the loop


@dataclass(frozen=True, slots=True)
class Place:
    """Where we stand toward a router: `ip` is our address, on the interface of this index and name."""

    router: IPAddress
    ip: IPAddress
    index: int
    interface: str


def places(gateways: Mapping[int, Gateway], interfaces: Mapping[int, Interface]) -> dict[int, Place]:
    """By IP version, where a mapping could be asked for."""
    found = {}
    for version, gateway in gateways.items():
        interface = interfaces.get(gateway.index)
        if interface is None or not interface.up or interface.kind in ("wireguard", "tun"):
            continue
        mine = [each for each in interface.addresses if each.version == version]
        if version == 6:  # a pinhole leads to an address that means the same everywhere
            mine = [each for each in mine if not is_private(each.ip)]
        mine.sort(key=lambda each: gateway.ip not in each.network)
        if mine:
            found[version] = Place(gateway.ip, mine[0].ip, interface.index, interface.name)
    return found


class _Door:
    """One lease with its sockets."""

    def __init__(self, ports: Ports, place: Place, wish: Wish, now: float) -> None:
        self.place, self.version = place, place.router.version
        self._ports = ports
        self._once = Once(log)
        self._helper = Helper(ports.selector, self._upnp_done)
        self._sockets: list[socket.socket] = []
        self.unicast = self._connect()
        self._listen(GROUPS[self.version], CLIENT_PORT, self._announced)
        if self.version == 4:
            self._listen(SSDP_GROUP, SSDP_PORT, self._notified)
        self.endpoint: Endpoint | None = None  # where strangers reach us, as last said
        self.complaint: Complaint | None = None  # the last, if it still holds
        self.lease = Lease(wish, SystemRandom(), now)
        self.act(now)

    # -- acting ---------------------------------------------------------------------------------------

    def act(self, now: float) -> None:
        for action in self.lease.take():
            match action:
                case Datagram(data):
                    # No route, or the router's "port unreachable": asked again, and then given up.
                    with suppress(OSError):
                        self.unicast.send(data)
                case Upnp():
                    self._helper.run(self._request(action), now)
                case EndUpnp():
                    self._helper.end()
                case Opened(endpoint, way):
                    self.endpoint = endpoint
                    if endpoint and way:
                        self.complaint = None
                        self._say_opened(endpoint, way)
                    self._ports.changed(now)
                case Complaint(trouble, text):
                    self.complaint = action
                    self._complain(trouble, text)
                    self._ports.changed(now)

    def turn(self, now: float) -> None:
        self._helper.tick(now)
        self.lease.tick(now)
        self.act(now)

    def next_due(self) -> float:
        return min(self._helper.due, self.lease.next_tick())

    def woke(self, now: float) -> None:
        self.lease.woke(now)
        self.act(now)

    def leave(self, now: float) -> None:
        """Release the mapping. `close` when `is_busy` no more."""
        self.lease.stop()
        self.endpoint = None
        self.act(now)

    @property
    def is_busy(self) -> bool:
        return self._helper.due < float("inf")

    def close(self, *, wait: bool = False) -> None:
        """`wait`, 2 s at most, until a release by UPnP is done."""
        if wait:
            self._helper.farewell()
        self._helper.end()
        for each in self._sockets:
            self._ports.selector.unregister(each)
            each.close()

    def _request(self, errand: Upnp) -> Request:
        wish = self.lease.wish
        return Request(
            router=str(wish.router),
            ip=str(wish.internal.ip),
            port=wish.internal.port,
            external_port=errand.port,
            lifetime=LIFETIME,
            url=errand.url,
            release=errand.release,
        )

    # -- hearing --------------------------------------------------------------------------------------

    def _heard(self, data: bytes, source: IPAddress, now: float) -> None:
        self.lease.receive(data, now)

    def _announced(self, data: bytes, source: IPAddress, now: float) -> None:
        if source == self.place.router:
            self.lease.announced(data, now)

    def _notified(self, data: bytes, source: IPAddress, now: float) -> None:
        if source == self.place.router and data.startswith(b"NOTIFY") and b"ssdp:alive" in data:
            self.lease.hint(now)

    def _upnp_done(self, answer: UpnpAnswer, now: float) -> None:
        self.lease.upnp(answer, now)
        self.act(now)

    def _receive(
        self, sock: socket.socket, hear: Callable[[bytes, IPAddress, float], None], now: float
    ) -> None:
        for _ in range(BATCH):
            try:
                data, (source, *_) = sock.recvfrom(MAX_SIZE)
            except OSError:  # nothing more, or the router has no such port
                break
            hear(data, ip_address(source.partition("%")[0]), now)
        self.act(now)

    # -- sockets --------------------------------------------------------------------------------------

    def _connect(self) -> socket.socket:
        """Raises OSError."""
        sock = self._socket(self._heard)
        scope = (0, self.place.index if self.place.router.is_link_local else 0) if self.version == 6 else ()
        sock.bind((str(self.place.ip), 0))
        sock.connect((str(self.place.router), SERVER_PORT, *scope))
        return sock

    def _listen(self, group: str, port: int, hear: Callable[[bytes, IPAddress, float], None]) -> None:
        """Hear what is sent to a group on our LAN. Without it we only notice a restarted router later."""
        sock = self._socket(hear)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # other programs listen there, too
            packed, index = socket.inet_pton(sock.family, group), self.place.index
            if self.version == 4:
                member = struct.pack("@4s4si", packed, b"", index)  # struct ip_mreqn, ip(7)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
                sock.bind((group, port))
            else:
                member = struct.pack("@16si", packed, index)  # struct ipv6_mreq, ipv6(7)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
                sock.bind((group, port, 0, index))
        except OSError as error:
            log.debug("port mapping: cannot listen to %s port %d: %s", group, port, error)

    def _socket(self, hear: Callable[[bytes, IPAddress, float], None]) -> socket.socket:
        family = socket.AF_INET if self.version == 4 else socket.AF_INET6
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._sockets.append(sock)
        self._ports.selector.register(sock, selectors.EVENT_READ, lambda now: self._receive(sock, hear, now))
        return sock

    # -- words ----------------------------------------------------------------------------------------

    def _say_opened(self, endpoint: Endpoint, way: Way) -> None:
        for trouble in Trouble:
            self._once.over(trouble.name)
        self._once.say("open", f"port mapping: {endpoint} leads here, by {way.value}", logging.INFO)

    def _complain(self, trouble: Trouble, text: str) -> None:
        """Each kind of trouble once, whatever its words: a router may find new ones for ever."""
        if not self._once.said(trouble.name):
            usual = trouble is Trouble.SILENT and self._ports.has_other(self)  # few routers open IPv6
            self._once.say(trouble.name, f"port mapping: {text}", logging.DEBUG if usual else logging.WARNING)


class Ports:
    """All mappings of this node. `opened` is told which endpoints lead here, whenever that changes."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        opened: Callable[[tuple[Endpoint, ...], float], None],
    ) -> None:
        self.selector = selector
        self._external_port: int | None = None
        self._opened = opened
        self._places: dict[int, Place] = {}  # by IP version, like all that follows
        self._doors: dict[int, _Door] = {}
        self._leaving: dict[int, _Door] = {}
        self._identity = b"", 0
        self._told: tuple[tuple[Endpoint, ...], bool] = (), False
        self._retry = float("inf")

    def identify(self, private_key: bytes, port: int, now: float) -> None:
        """WireGuard's key and port, as soon as they are known and whenever they change."""
        if (private_key, port) != self._identity:
            self._identity = private_key, port
            self._leave(list(self._doors), now)
            self._enter(now)

    def network(
        self, gateways: Mapping[int, Gateway], interfaces: Mapping[int, Interface], now: float
    ) -> None:
        """The network as it is now. Where the way to a router changed, its mapping is made anew."""
        self._places = places(gateways, interfaces)
        gone = [version for version, door in self._doors.items() if door.place != self._places.get(version)]
        self._leave(gone, now)
        self._enter(now)

    def wish(self, external_port: int | None, now: float) -> None:
        """Another external port; 0 is any, None no mapping at all."""
        if external_port != self._external_port:
            self._external_port = external_port
            self._leave(list(self._doors), now)
            self._enter(now)

    def woke(self, now: float) -> None:
        """We were suspended: what was opened may be closed."""
        for door in list(self._doors.values()):
            door.woke(now)

    def turn(self, now: float) -> None:
        for door in [*self._doors.values(), *self._leaving.values()]:
            if now >= door.next_due():
                door.turn(now)
        done = [version for version, door in self._leaving.items() if not door.is_busy]
        for version in done:
            self._leaving.pop(version).close()
        if done or now >= self._retry:
            self._enter(now)

    def next_due(self) -> float:
        doors = [*self._doors.values(), *self._leaving.values()]
        return min([self._retry, *(door.next_due() for door in doors)])

    def close(self, now: float) -> None:
        """Release everything. Takes 2 s at most, and only where UPnP holds the mapping."""
        self._leave(list(self._doors), now)
        for door in self._leaving.values():
            door.close(wait=True)
        self._leaving.clear()

    def changed(self, now: float) -> None:
        """Tell where we can be reached, if that is news."""
        endpoints = tuple(door.endpoint for door in self._doors.values() if door.endpoint)
        if (endpoints, self.behind_two_nats) != self._told:
            self._told = endpoints, self.behind_two_nats
            self._opened(endpoints, now)

    @property
    def behind_two_nats(self) -> bool:
        """Whether what our router opened ends at another NAT."""
        complaints = [door.complaint for door in self._doors.values() if door.complaint]
        return any(each.trouble is Trouble.PRIVATE for each in complaints)

    def state(self) -> str | None:
        """How things stand with the routers, in words; None if nothing is wished."""
        if self._external_port is None:
            return None
        told = [self._told_of(door) for door in self._doors.values()]
        return "; ".join(each for each in told if each) or "no router to ask"

    def _told_of(self, door: _Door) -> str:
        if door.endpoint:
            return f"{door.endpoint} leads here, by {door.lease.way.value}" if door.lease.way else ""
        if door.complaint is None:
            return f"asking {door.place.router}"
        silent_too = door.complaint.trouble is Trouble.SILENT and self.has_other(door)
        return "" if silent_too else door.complaint.text

    def has_other(self, door: _Door) -> bool:
        """Whether there is a lease beside this one."""
        return any(each is not door for each in self._doors.values())

    def _leave(self, versions: Iterable[int], now: float) -> None:
        for version in versions:
            door = self._doors.pop(version)
            door.leave(now)
            if version in self._leaving:  # the network changes faster than a router answers
                self._leaving.pop(version).close()
            self._leaving[version] = door
        self.changed(now)

    def _enter(self, now: float) -> None:
        """Ask for mappings where none is, and the last one's release is done with."""
        self._retry = float("inf")
        private_key, port = self._identity
        external_port = self._external_port
        if not port or external_port is None:
            return
        for version, place in self._places.items():
            if version not in self._doors and version not in self._leaving:
                internal = Endpoint(place.ip, port)
                about = f"{place.router} {internal}".encode()
                # The same after a restart, so that the mapping still belongs to us; nobody else can know it.
                nonce = hashlib.blake2b(about, digest_size=pcp.NONCE_SIZE, key=private_key).digest()
                wish = Wish(place.router, internal, external_port, nonce)
                try:
                    self._doors[version] = _Door(self, place, wish, now)
                except OSError as error:  # the address went away again
                    log.debug("port mapping: no way to %s: %s", place.router, error)
                    self._retry = now + RETRY
