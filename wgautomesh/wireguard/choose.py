"""Which WireGuard an interface is: decided by what it is, not by what happens to work."""

from __future__ import annotations

import errno
import os
import pwd
import socket
from pathlib import Path

from . import WireGuard
from .kernel import KernelWireGuard
from .netlink import attribute, attributes
from .nlsocket import NetlinkSocket
from .uapi import SOCKETS, UserspaceWireGuard

_RTM_GETLINK = 18  # linux/rtnetlink.h
_IFINFOMSG_SIZE = 16  # bytes, struct ifinfomsg
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 18, 1  # linux/if_link.h
_MAX_NAME = 15  # bytes, IFNAMSIZ without its NUL


def open_wireguard(name: str) -> WireGuard:
    """The interface behind its face, after one successful read.

    OSError ENODEV: the interface, or the socket of its process, is not there (yet). PermissionError,
    and OSError ENOTSUP if it is something else, carry as `strerror` one line that says what is missing.
    """
    kind = interface_kind(name)
    if kind == "wireguard":
        return _checked(KernelWireGuard(name), f"{name}: configuring WireGuard needs CAP_NET_ADMIN")
    if kind == "tun":
        return _checked(UserspaceWireGuard(name), _whose_socket(name))
    raise OSError(errno.ENOTSUP, f"{name} is not a WireGuard interface" + (f" but a {kind}" if kind else ""))


def _checked(wireguard: WireGuard, denied: str) -> WireGuard:
    try:
        wireguard.read()
    except PermissionError as refused:
        wireguard.close()
        raise PermissionError(refused.errno, denied) from None
    except OSError:
        wireguard.close()
        raise
    return wireguard


def interface_kind(name: str) -> str | None:
    """What made the interface ("wireguard", "tun", "veth", …), None for hardware; OSError ENODEV if missing.

    rtnetlink and not sysfs, which may show another network namespace. No privilege is needed.
    """
    if not 0 < len(os.fsencode(name)) <= _MAX_NAME:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), name)
    link = NetlinkSocket(socket.NETLINK_ROUTE)
    try:
        raw = link.ask(
            _RTM_GETLINK, bytes(_IFINFOMSG_SIZE) + attribute(_IFLA_IFNAME, os.fsencode(name) + b"\0")
        )
        for kind, start, end in attributes(raw, _IFINFOMSG_SIZE, len(raw)):
            if kind == _IFLA_LINKINFO:
                for info, info_start, info_end in attributes(raw, start, end):
                    if info == _IFLA_INFO_KIND:
                        return raw[info_start:info_end].rstrip(b"\0").decode()
    except ValueError as malformed:
        raise OSError(errno.EBADMSG, f"{name}: {malformed}") from None
    finally:
        link.close()
    return None


def _whose_socket(name: str, directory: Path = SOCKETS) -> str:
    path = directory / f"{name}.sock"
    try:
        uid = path.stat().st_uid
    except OSError:
        return f"{path}: no permission to look for the socket"
    try:
        owner = pwd.getpwuid(uid).pw_name
    except KeyError:
        owner = f"user {uid}"
    return f"{path} belongs to {owner}: run as {owner}"
