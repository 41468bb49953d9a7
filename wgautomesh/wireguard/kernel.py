"""WireGuard interfaces of the kernel, through generic netlink. The bytes are made and read in `netlink`."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv6Address

from ..values import Device, Endpoint, IPNetwork, Key, Peer
from .changes import Change, adding, readding, removing, updating
from .netlink import (
    GENL_ID_CTRL,
    decode_device,
    decode_family,
    encode_get_device,
    encode_get_family,
    encode_set_device,
)
from .nlsocket import NETLINK_GENERIC, NetlinkSocket

# What the kernel says when the interface is another kind by now, and when the module was unloaded.
_GONE = (errno.ENODEV, errno.EOPNOTSUPP, errno.ENOENT)


class KernelWireGuard:
    """One kernel interface, by name. Implements `WireGuard`; needs CAP_NET_ADMIN, else OSError EPERM.

    OSError ENODEV: no such interface, or it is not the kernel's WireGuard, or the kernel has none.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._socket = NetlinkSocket(NETLINK_GENERIC)
        try:
            with _errors(name):
                # The kernel loads its module on this question if it has one.
                self._family = decode_family(self._socket.ask(GENL_ID_CTRL, encode_get_family()))
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def read(self) -> Device:
        with _errors(self._name):
            return decode_device(self._socket.dump(self._family, encode_get_device(self._name)))

    def add(self, *peers: Peer) -> None:
        self._apply([change for peer in peers for change in adding(peer)])

    def update(
        self,
        key: Key,
        *,
        endpoint: Endpoint | None = None,
        keepalive: int | None = None,
        allowed_ips: tuple[IPNetwork, ...] = (),
        replace: bool = False,
    ) -> None:
        self._apply(updating(key, endpoint, keepalive, allowed_ips, replace=replace))

    def readd(self, peer: Peer) -> None:
        self._apply(readding(peer))

    def remove(self, key: Key) -> None:
        self._apply(removing(key))

    def _apply(self, changes: list[Change]) -> None:
        with _errors(self._name):
            for payload in encode_set_device(self._name, [_scope_by_index(change) for change in changes]):
                self._socket.ask(self._family, payload)


@contextmanager
def _errors(name: str) -> Iterator[None]:
    """Nothing but OSError leaves here: ENODEV for all ways to be gone, EBADMSG for what makes no sense."""
    try:
        yield
    except ValueError as malformed:
        raise OSError(errno.EBADMSG, f"{name}: {malformed}") from None
    except OSError as failed:
        if failed.errno in _GONE:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), name) from None
        raise


def _scope_by_index(change: Change) -> Change:
    """A person may have written `fe80::1%eth0`, the kernel takes only the interface's index."""
    endpoint = change.endpoint
    if endpoint is None or not isinstance(endpoint.ip, IPv6Address):
        return change
    scope = endpoint.ip.scope_id
    if scope is None or scope.isdecimal():
        return change
    try:
        index = socket.if_nametoindex(scope)
    except OSError:
        raise OSError(errno.EADDRNOTAVAIL, f"{endpoint}: there is no interface {scope}") from None
    address = str(endpoint.ip).partition("%")[0]
    return replace(change, endpoint=Endpoint(IPv6Address(f"{address}%{index}"), endpoint.port))
