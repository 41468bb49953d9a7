"""The agent's hold on its WireGuard interface: waits for it, reads it not too often, carries out changes.

What to change, and when to look, is decided by the core.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import socket
import struct
import time
from collections.abc import Callable

from .effects import Admit, Change, Readd, Remove
from .log import TRACE, Once
from .values import Device, key_text
from .wireguard import WireGuard
from .wireguard.choose import open_wireguard

log = logging.getLogger(__name__)

LOOK_SPACING = 0.05  # s between two reads of the device, on average
LOOK_BURST = 4  # reads that may follow each other at once: shots must leave the moment news comes
LOOK_SHARE = 20  # times as long as a read had the processor, the next one waits: that is 5 % of it at most
RETRY = 1.0  # s between attempts to open what is not there yet
SIOCGIFFLAGS, IFF_UP = 0x8913, 0x1  # linux/sockios.h, linux/if.h


class Interface:
    """One WireGuard interface by name, there or not. `lost` is called when it vanishes.

    Methods raise PermissionError, with one line for a person, when rights are missing from the start.
    """

    def __init__(self, name: str, lost: Callable[[float], None]) -> None:
        self.name = name
        self._lost = lost
        self._wireguard: WireGuard | None = None
        self._once = Once(log)
        self._permitted = False  # once it worked, a refusal is trouble that may pass
        self._open_due = 0.0
        self._look_due = float("inf")
        self._look_allowed = 0.0
        self._budget = 0.0

    @property
    def is_open(self) -> bool:
        return self._wireguard is not None

    @property
    def waiting(self) -> str | None:
        """What it waits for, in words."""
        return self._once.said("state")

    def next_due(self) -> float:
        return self._look_due if self._wireguard else self._open_due

    def look(self, at: float) -> None:
        """Have the device read, as soon as the budget allows."""
        self._look_due = min(self._look_due, max(at, self._look_allowed))

    def hurry(self, at: float) -> None:
        """Something changed: it may be there now, or gone."""
        self._open_due = at
        self.look(at)

    def turn(self, at: float) -> Device | None:
        """Do what is due; the device if it was read and is ready: with a key and a port."""
        if self._wireguard is None and at >= self._open_due:
            self._open(at)
        if self._wireguard is None or at < self._look_due:
            return None
        self._look_due = float("inf")
        began = time.thread_time()  # on a busy machine a read may wait for a second, and cost a millisecond
        try:
            device = self._wireguard.read()
        except OSError as error:
            self._trouble("reading", error, at)
            return None
        spacing = max(LOOK_SPACING, LOOK_SHARE * (time.thread_time() - began))
        self._budget = max(self._budget, at) + spacing
        self._look_allowed = self._budget - (LOOK_BURST - 1) * spacing
        self._permitted = True
        self._once.over("reading")
        if device.key is None or not device.listen_port:
            lacks = "private key" if device.key is None else "listen port"
            self._once.say("state", f"{self.name} has no {lacks} yet: waiting for it")
            self._look_due = at + RETRY
            return None
        self._once.over("state")
        return device

    def configure(self, effect: Admit | Change | Readd | Remove, at: float) -> None:
        """Carry out one change. What fails is logged once, and the device looked at again."""
        if self._wireguard is None:
            return
        log.log(TRACE, "%s", effect)
        try:
            match effect:
                case Admit(peers):
                    self._wireguard.add(*peers)
                case Change(key, endpoint, keepalive, allowed_ips, replace):
                    self._wireguard.update(
                        key, endpoint=endpoint, keepalive=keepalive, allowed_ips=allowed_ips, replace=replace
                    )
                case Readd(peer):
                    self._wireguard.readd(peer)
                case Remove(key):
                    self._wireguard.remove(key)
                    log.info("%s… is no member any more: removed", key_text(key)[:10])
        except OSError as error:
            self._trouble("configuring", error, at)
        else:
            self._once.over("configuring")

    def gone(self, at: float) -> None:
        """It vanished: wait for it to come back."""
        self._once.say("state", f"{self.name} is gone: waiting for it")
        if self._wireguard:
            self._wireguard.close()
        self._wireguard = None
        self._look_due = float("inf")
        self._open_due = at
        self._lost(at)

    def _open(self, at: float) -> None:
        self._open_due = at + RETRY
        try:
            if not _is_up(self.name):
                self._once.say("state", f"{self.name} is down: waiting for it")
                return
            self._wireguard = open_wireguard(self.name)
        except OSError as error:
            if isinstance(error, PermissionError) and not self._permitted:
                raise
            if error.errno != errno.ENODEV:
                self._once.say("state", f"{self.name}: {error.strerror or error}", logging.ERROR)
            elif not self._once.said("state"):
                self._once.say("state", f"{self.name} does not exist yet: waiting for it")
            return
        self.look(at)

    def _trouble(self, doing: str, error: OSError, at: float) -> None:
        if error.errno in (errno.ENODEV, errno.ENXIO):
            self.gone(at)
        elif isinstance(error, PermissionError) and not self._permitted:
            raise error
        else:
            self._once.say(doing, f"{self.name}: {doing} failed: {error.strerror or error}", logging.ERROR)
            self._look_due = min(self._look_due, at + RETRY)


def _is_up(name: str) -> bool:
    """Whether the interface is set up. Raises OSError with ENODEV if there is none of that name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sH14x", name.encode(), 0)
        _, flags = struct.unpack("16sH14x", fcntl.ioctl(probe, SIOCGIFFLAGS, request))
        return bool(flags & IFF_UP)
