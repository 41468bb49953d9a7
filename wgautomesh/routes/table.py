"""The kernel's main routing table, by rtnetlink: our routes follow the plan, all others are only looked at.

Layouts and numbers are from linux/uapi/linux/rtnetlink.h.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network
from struct import Struct
from struct import error as StructError
from typing import Literal

from ..log import Once
from ..values import Device, IPInterface, IPNetwork, Key
from ..wireguard.netlink import attribute, attributes
from ..wireguard.nlsocket import NetlinkSocket
from .plan import PROTOCOL, Route, plan, wanted

log = logging.getLogger(__name__)

_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_CREATE_NEW = 0x200 | 0x400  # NLM_F_EXCL, NLM_F_CREATE
_DST, _OIF, _TABLE = 1, 4, 15
_MAIN = 254  # RT_TABLE_MAIN
_LINK, _UNICAST, _CLONED = 253, 1, 0x200  # RT_SCOPE_LINK, RTN_UNICAST, RTM_F_CLONED
_HEAD = Struct(
    "=8BI"
)  # struct rtmsg: family, dst length, src length, tos, table, protocol, scope, type, flags
_U32 = Struct("=I")


class Routes:
    """Our routes into one interface. What fails is logged once, and tried again with the next change."""

    def __init__(self) -> None:
        self._socket: NetlinkSocket | None = None
        self._once = Once(log)
        self._done: tuple[int, frozenset[IPNetwork]] | None = None  # interface and its routes

    def follow(
        self,
        mode: Literal["all"] | bool,
        device: Device,
        members: Iterable[Key],
        addresses: Mapping[int, Collection[IPInterface]],
        *,
        look: bool,
    ) -> None:
        """Have the routes that members' allowed IPs want, and no others of ours.

        `addresses` are those of all interfaces that are up, by index; nothing happens before the device is
        among them. `look`: the table may have changed by other hands.
        """
        interface = device.index
        if interface not in addresses:
            return
        none: frozenset[IPNetwork] = frozenset()
        networks = wanted(device, members, addresses, defaults=mode == "all") if mode else none
        if (interface, networks) == self._done and not (look and mode):
            return
        self._done = (interface, networks)
        try:
            self._socket = self._socket or NetlinkSocket(socket.NETLINK_ROUTE)
            add, remove = plan(networks, list(self._read(self._socket)), interface)
        except (OSError, ValueError, StructError) as error:
            self._trouble(f"routes cannot be read: {error}")
            return
        self._once.over("routes")
        for kind, some in ((_DELROUTE, remove), (_NEWROUTE, add)):
            for network in some:
                self._change(self._socket, kind, network, interface)

    def _read(self, socket_: NetlinkSocket) -> Iterator[Route]:
        for family in (socket.AF_INET, socket.AF_INET6):
            yield from decode(socket_.dump(_GETROUTE, _HEAD.pack(family, *bytes(7), 0)))

    def _change(self, socket_: NetlinkSocket, kind: int, network: IPNetwork, interface: int) -> None:
        try:
            socket_.ask(kind, encode(network, interface), _CREATE_NEW if kind == _NEWROUTE else 0)
        except OSError as error:
            # Somebody was faster: their route stays, and one that is gone is gone.
            if error.errno not in (errno.EEXIST, errno.ESRCH):
                self._trouble(f"route to {network}: {error.strerror or error}")
        else:
            log.info("route to %s %s", network, "added" if kind == _NEWROUTE else "removed")

    def _trouble(self, text: str) -> None:
        self._done = None
        self._once.say("routes", text)


def encode(network: IPNetwork, interface: int) -> bytes:
    """Payload that makes, or removes, our route to a network into the interface of this index."""
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    head = _HEAD.pack(family, network.prefixlen, 0, 0, _MAIN, PROTOCOL, _LINK, _UNICAST, 0)
    return head + attribute(_DST, network.network_address.packed) + attribute(_OIF, _U32.pack(interface))


def decode(payloads: Iterable[bytes]) -> Iterator[Route]:
    """The routes of the main table among the answers to RTM_GETROUTE. ValueError for what makes no sense."""
    for raw in payloads:
        if len(raw) < _HEAD.size:
            raise ValueError("a route without its header")
        family, length, _, _, table, protocol, _, _, flags = _HEAD.unpack_from(raw)
        found = {kind: raw[start:end] for kind, start, end in attributes(raw, _HEAD.size, len(raw))}
        if _TABLE in found:  # for the numbers that a byte does not hold
            (table,) = _U32.unpack(found[_TABLE])
        if table != _MAIN or flags & _CLONED or family not in (socket.AF_INET, socket.AF_INET6):
            continue
        size = 4 if family == socket.AF_INET else 16
        address = found.get(_DST, bytes(size))
        if len(address) != size or length > size * 8:
            raise ValueError("a route to an address of the wrong size")
        interface = int(_U32.unpack(found[_OIF])[0]) if _OIF in found else 0
        network = (IPv4Network if size == 4 else IPv6Network)((address, length), strict=False)
        yield Route(network, interface, protocol)
