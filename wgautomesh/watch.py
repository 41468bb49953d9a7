"""The machine's interfaces and addresses, and word that they changed (rtnetlink).

pyroute2 reads them; it is imported with the first read only, as it costs 18 MiB and 0.1 s and WireGuard can
be configured before. The notifications come on a plain socket of ours: inside pyroute2 an event loop would
move them into a queue, where no selector sees them, and what they say need not be decoded at all.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface
from typing import Any, TypeVar

Read = TypeVar("Read")

# linux/rtnetlink.h: RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
_RT_TABLE_MAIN = 254  # linux/rtnetlink.h
MESSAGES_AT_ONCE = 1024  # a routing daemon loading a full table must not keep us from everything else
DUMP_TRIES = 5  # the interfaces of a machine that starts a hundred containers change under every read

# linux/if.h
_IFF_UP, _IFF_BROADCAST, _IFF_LOOPBACK, _IFF_POINTOPOINT = 0x1, 0x2, 0x8, 0x10
_IFF_NOARP, _IFF_LOWER_UP = 0x80, 0x10000
# linux/if_addr.h: an address that is not ours yet, and one that turned out to be somebody else's
_IFA_F_DADFAILED, _IFA_F_TENTATIVE = 0x08, 0x40

# Kinds that lead to a LAN; None is hardware, wireless too. A bridge does where hardware is one of its ports.
_LAN_KINDS = frozenset({None, "veth", "vlan", "macvlan", "ipvlan", "bond", "team"})


@dataclass(frozen=True, slots=True)
class Interface:
    """`up`: switched on and with a carrier. `neighbours`: several may hear what we broadcast.

    `lan`: fit for beacons unless told otherwise: see `_LAN_KINDS`. Link-local IPv6 addresses carry `index`
    as their scope. Tentative addresses, of no use for sending yet, are left out. `broadcasts` has one for
    each IPv4 network that is large enough, configured or not.
    """

    index: int
    name: str
    kind: str | None  # as `ip -d link` shows it: "wireguard", "tun", "veth", …; None is hardware
    up: bool
    neighbours: bool
    lan: bool
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    broadcasts: tuple[IPv4Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Gateway:
    """The router of a default route, on the interface of this index. Link-local addresses carry no scope."""

    ip: IPv4Address | IPv6Address
    index: int


class Watch:
    """Every method raises OSError."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.bind((0, _GROUPS))

    def fileno(self) -> int:
        """Readable when something has changed; then call `drain`."""
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def drain(self) -> bool:
        """Whether links, addresses or routes may have changed since; compare `interfaces()` to know what.

        A refreshed IPv6 lifetime or a scan for wireless networks counts too, as the messages are not read.
        """
        changed = False
        for _ in range(MESSAGES_AT_ONCE):
            try:
                self._socket.recv(1)
            except BlockingIOError:
                break
            except OSError as failed:
                if failed.errno != errno.ENOBUFS:  # overflow: we lost count, so something has changed
                    raise
            changed = True
        return changed

    def interfaces(self) -> dict[int, Interface]:
        """All interfaces by index, as they are now. Takes about 2 ms, the first call 100 ms."""
        return _read(lambda route: decode(list(route.get_links()), list(route.get_addr())))

    def gateways(self) -> dict[int, Gateway]:
        """By IP version, the router that the main table's best default route leads to."""
        return _read(lambda route: decode_gateways(route.get_default_routes(table=_RT_TABLE_MAIN)))


def _read(ask: Callable[[Any], Read]) -> Read:
    """What `ask` makes of a pyroute2 socket."""
    from pyroute2.iproute.linux import IPRoute  # noqa: PLC0415  (late on purpose, see above)
    from pyroute2.netlink.exceptions import NetlinkDumpInterrupted, NetlinkError  # noqa: PLC0415

    for _ in range(DUMP_TRIES):
        try:
            with IPRoute() as route:
                return ask(route)
        except NetlinkDumpInterrupted:
            continue
        except NetlinkError as failed:
            raise OSError(failed.code, str(failed)) from None
    raise OSError(errno.EAGAIN, "the network keeps changing while it is read")


def decode_gateways(routes: Iterable[Any]) -> dict[int, Gateway]:
    """The best gateway of each IP version from pyroute2's RTM_NEWROUTE messages of default routes."""
    best: dict[int, tuple[int, Gateway]] = {}
    for route in routes:
        ip, index = route.get_attr("RTA_GATEWAY"), route.get_attr("RTA_OIF")
        metric = route.get_attr("RTA_PRIORITY") or 0
        if ip is None or index is None:  # straight into a tunnel, or several at once
            continue
        gateway = Gateway(ip_address(ip), index)
        version = gateway.ip.version
        if version not in best or metric < best[version][0]:
            best[version] = metric, gateway
    return {version: gateway for version, (_, gateway) in best.items()}


def decode(links: Iterable[Any], addresses: Iterable[Any]) -> dict[int, Interface]:
    """Interfaces by index from pyroute2's RTM_NEWLINK and RTM_NEWADDR messages."""
    known = {link["index"]: link for link in links}
    kinds = {index: link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") for index, link in known.items()}
    hardware_in = {link.get_attr("IFLA_MASTER") for index, link in known.items() if kinds[index] is None}
    ours: dict[int, list[IPv4Interface | IPv6Interface]] = {index: [] for index in known}
    broadcasts: dict[int, list[IPv4Address]] = {index: [] for index in known}
    for message in addresses:
        index = message["index"]
        # On a link to one peer IFA_ADDRESS is the peer's. The flags of the header are only 8 bits.
        address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        flags = message.get_attr("IFA_FLAGS") or message["flags"]
        if index not in known or address is None or flags & (_IFA_F_TENTATIVE | _IFA_F_DADFAILED):
            continue
        scope = f"%{index}" if ip_address(address).version == 6 and ip_address(address).is_link_local else ""
        mine = ip_interface(f"{address}{scope}/{message['prefixlen']}")
        ours[index].append(mine)
        broadcast = message.get_attr("IFA_BROADCAST")
        if broadcast is not None:
            broadcasts[index].append(IPv4Address(broadcast))
        elif isinstance(mine, IPv4Interface) and mine.network.prefixlen < 31:
            # The kernel routes it as a broadcast all the same (fib_add_ifaddr in net/ipv4/fib_frontend.c).
            broadcasts[index].append(mine.network.broadcast_address)
    return {
        index: Interface(
            index=index,
            name=link.get_attr("IFLA_IFNAME"),
            kind=kinds[index],
            up=_is_up(link["flags"]),
            neighbours=_has_neighbours(link["flags"]),
            lan=_has_neighbours(link["flags"])
            and link.get_attr("IFLA_MASTER") is None
            and (kinds[index] in _LAN_KINDS or (kinds[index] == "bridge" and index in hardware_in)),
            addresses=tuple(ours[index]),
            broadcasts=tuple(broadcasts[index]),
        )
        for index, link in known.items()
    }


def _is_up(flags: int) -> bool:
    return bool(flags & _IFF_UP and flags & _IFF_LOWER_UP)


def _has_neighbours(flags: int) -> bool:
    """Neighbours can hear a broadcast there. Most tunnels say of themselves that they lead to one peer."""
    if not _is_up(flags) or not flags & _IFF_BROADCAST:
        return False
    return not flags & (_IFF_LOOPBACK | _IFF_POINTOPOINT | _IFF_NOARP)
