"""All mappings of this node: one for each IP version, on the router that its default route leads to."""

from __future__ import annotations

import hashlib
import logging
import selectors
from collections.abc import Callable, Iterable, Mapping

from ..candidates import is_private
from ..values import Endpoint
from ..watch import Gateway, Interface
from . import pcp
from .actions import Trouble, Wish
from .door import Door
from .sockets import Place

log = logging.getLogger(__name__)

RETRY = 1.0  # s until a router is tried again that we could not even send to


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
            found[version] = Place(gateway.ip, mine[0].ip, interface.index)
    return found


class Ports:
    """All mappings of this node. `opened` is told which endpoints lead here, whenever that changes."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        opened: Callable[[tuple[Endpoint, ...], float], None],
    ) -> None:
        self._selector = selector
        self._external_port: int | None = None
        self._opened = opened
        self._places: dict[int, Place] = {}  # by IP version, like all that follows
        self._doors: dict[int, Door] = {}
        self._leaving: dict[int, Door] = {}
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
        """Release everything. Takes 2 s at most, and only where UPnP holds a mapping or may."""
        self._leave(list(self._doors), now)
        for door in self._leaving.values():
            door.close(wait=True)
        self._leaving.clear()

    def _tell(self, now: float) -> None:
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
        states = [door.state() for door in self._doors.values()]
        return "; ".join(each for each in states if each) or "no router to ask"

    def _leave(self, versions: Iterable[int], now: float) -> None:
        for version in versions:
            door = self._doors.pop(version)
            door.leave(now)
            if version in self._leaving:  # the network changes faster than a router answers
                self._leaving.pop(version).close()
            if door.is_busy:
                self._leaving[version] = door
            else:
                door.close()
        self._tell(now)

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
                    self._doors[version] = self._door(place, wish, now)
                except OSError as error:  # the address went away again
                    log.debug("port mapping: no way to %s: %s", place.router, error)
                    self._retry = now + RETRY

    def _door(self, place: Place, wish: Wish, now: float) -> Door:
        return Door(self._selector, place, wish, now, usual=self._is_extra, changed=self._tell)

    def _is_extra(self, door: Door) -> bool:
        """Few routers open IPv6: where there is IPv4, one that does not is not worth a word."""
        return door.place.router.version == 6 and 4 in self._doors
