"""The UDP socket that gossip goes through: bound to the WireGuard interface and to our own mesh address.

It says where a datagram came from and nothing about what is in it. What arrives here has passed WireGuard's
cryptokey routing, so its source address proves which peer sent it.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from .mute import mute
from .values import IPAddress

MAX_DATAGRAM = 1232  # bytes: IPv6's minimum MTU of 1280 without the headers of IPv6 and UDP

# Reasons to lose a datagram that are part of life in a mesh: no endpoint yet, no peer with this address, no
# route, an interface that is down, queues that are full, a packet filter.
_LOST = frozenset(
    {
        errno.EDESTADDRREQ,
        errno.ENOKEY,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EAGAIN,
        errno.ENOBUFS,
        errno.EPERM,
    }
)
# What an ICMP error leaves on the socket (icmp_err_convert in net/ipv4/icmp.c, icmpv6_err_convert in
# net/ipv6/icmp.c). The next call on the socket fails with it, whatever its own destination.
_LEFT_BY_ICMP = frozenset(
    {
        errno.ECONNREFUSED,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.EACCES,
        errno.EPROTO,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EMSGSIZE,
    }
)
MAX_SENDERS = 1024  # whose addresses are kept ready
_TRIES = 3  # ICMP errors may keep coming in between, but not for ever

# linux/in.h, linux/in6.h and linux/errqueue.h; the socket module has no names for them.
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_RECVERR = ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR))
_EXTENDED_ERROR = struct.Struct(
    "=I4B2I"
)  # struct sock_extended_err: errno, origin, type, code, pad, info, data
_ORIGIN_ICMP, _ORIGIN_ICMP6 = 2, 3
_CONTROL_SPACE = socket.CMSG_SPACE(_EXTENDED_ERROR.size + 28)  # bytes, followed by a struct sockaddr_in6


@dataclass(frozen=True, slots=True)
class Received:
    """A datagram from `ip`; or, with `refused`, the word of `ip` itself that no agent listens there."""

    ip: IPAddress
    data: bytes | None = None
    refused: bool = False


class Tunnel:
    """Sends to and hears from the other agents, all on the same port.

    OSError from any method: this socket is of no more use, make a new one. ENODEV: the interface is gone, or
    made anew, which this socket would never notice: it stays deaf. EADDRNOTAVAIL, when made: the address is
    not there yet, or only tentatively. No privilege is needed since Linux 5.7.
    """

    def __init__(self, interface: str, address: IPAddress, port: int) -> None:
        self._interface, self.address, self._port = interface, address, port
        self._index = _index(interface)
        self._ip = lru_cache(MAX_SENDERS)(ip_address)  # reading the text again costs as much as the datagram
        v6 = isinstance(address, IPv6Address)
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, kind)
        try:
            device = interface.encode() + b"\0"
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
            if v6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            else:
                self._socket.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            # Without any reuse flag a second agent, or a thief, gets EADDRINUSE instead of our datagrams.
            self._socket.bind((str(address), port))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def mute(self, addresses: Collection[IPAddress]) -> None:
        """Hear nothing from these, and from all others, until the next call."""
        with suppress(OSError):  # a sandbox may forbid it: then a flood costs what it costs
            mute(self._socket, addresses)

    def send(self, to: IPAddress, data: bytes) -> bool:
        """False if the datagram was lost for a reason that is normal; True promises nothing."""
        for tries_left in reversed(range(_TRIES)):
            try:
                self._socket.sendto(data, (str(to), self._port))
                return True
            except OSError as failed:
                if failed.errno in _LEFT_BY_ICMP and tries_left:
                    continue  # most likely about an earlier datagram, and cleared by being reported
                if _index(self._interface) != self._index:
                    # With the interface went the address, and kernels differ in which of the two they miss.
                    raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), self._interface) from None
                if failed.errno not in _LOST | _LEFT_BY_ICMP:
                    raise
        return False

    def receive(self, limit: int) -> list[Received]:
        """What has arrived, after looking at `limit` datagrams and `limit` refusals at most; never blocks.

        Dropped are datagrams from another port than ours, from ourselves, and larger than MAX_DATAGRAM.
        """
        return self._datagrams(limit) + self._refusals(limit)

    def _datagrams(self, limit: int) -> list[Received]:
        found: list[Received] = []
        for _ in range(limit):
            try:
                data, sender = self._socket.recvfrom(MAX_DATAGRAM + 1)
            except OSError as failed:
                if failed.errno in _LEFT_BY_ICMP:
                    continue
                if failed.errno == errno.EAGAIN:
                    break
                raise
            if sender[1] != self._port or len(data) > MAX_DATAGRAM:
                continue
            ip = self._ip(sender[0])
            if ip != self.address:
                found.append(Received(ip, data))
        return found

    def _refusals(self, limit: int) -> list[Received]:
        found: list[Received] = []
        for _ in range(limit):
            try:
                # The datagram itself comes back too, cut off: where it went to is all we want.
                _, control, _, to = self._socket.recvmsg(1, _CONTROL_SPACE, socket.MSG_ERRQUEUE)
            except OSError as failed:
                if failed.errno == errno.EAGAIN:
                    break
                raise
            for level, kind, content in control:
                if (level, kind) in _RECVERR and _refused_by(content) == to[0]:
                    found.append(Received(ip_address(to[0]), refused=True))
        return found


def _index(interface: str) -> int | None:
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return None


def _refused_by(content: bytes) -> str | None:
    """Who says by ICMP that nobody listens there, None if the error is another.

    Only the word of the destination itself counts (and the tunnel proves its address): any member could send
    us an ICMP error about a third, and have us believe that its agent is down.
    """
    if len(content) < _EXTENDED_ERROR.size:
        return None
    code, origin, *_ = _EXTENDED_ERROR.unpack_from(content)
    offender = content[_EXTENDED_ERROR.size :]
    if code != errno.ECONNREFUSED:
        return None
    if origin == _ORIGIN_ICMP and len(offender) >= 8:
        return socket.inet_ntop(socket.AF_INET, offender[4:8])
    if origin == _ORIGIN_ICMP6 and len(offender) >= 24:
        return socket.inet_ntop(socket.AF_INET6, offender[8:24])
    return None
