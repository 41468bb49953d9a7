"""LAN discovery: on which devices, and when a beacon leaves.

The sockets stand in `lansocket.py`; what is said through them, and what is believed, in `beacon.py`.
"""

from __future__ import annotations

import logging
import selectors
import socket
from collections.abc import Callable, Collection, Iterable
from fnmatch import fnmatchcase
from functools import partial

from .beacon import Beacons, Found
from .config import Config
from .lansocket import LanSocket
from .log import Once
from .seal import Seal
from .values import Endpoint, Key, host_of
from .watch import Interface

log = logging.getLogger(__name__)

BEACON_INTERVAL = 60.0  # s
# s after a change: not only at once, because Wi-Fi may not carry the first, and a switch that looks for
# loops carries nothing for half a minute.
CHANGE_BEACONS = (0.0, 1.0, 5.0, 35.0)
BATCH = 32  # datagrams of one socket in a turn of the loop


def is_wanted(device: Interface, patterns: Collection[str] | None, mesh: str) -> bool:
    """Whether to look for members there; `mesh` is the WireGuard interface, which is never.

    Without `patterns` devices choose themselves (`Interface.lan`). A name asks for that device whatever it
    is; a pattern with wildcards for what it matches, tunnels left out.
    """
    if device.name == mesh or not device.up:
        return False
    if patterns is None:
        return device.lan
    fits = device.neighbours and any(fnmatchcase(device.name, each) for each in patterns)
    return fits or device.name in patterns


def discovery(
    selector: selectors.BaseSelector, config: Config, found: Callable[[Key, Endpoint, float], None]
) -> Lan | None:
    """LAN discovery as configured; None if it is off, or nothing could be believed."""
    if not config.lan_discovery:
        return None
    if not config.secrets:
        log.warning("LAN discovery stays off: without a gossip secret no beacon could be believed")
        return None
    return Lan(selector, config, found)


class Lan:
    """Beacons on all LAN devices. Findings go to `found`; sockets are registered with the selector given."""

    def __init__(
        self, selector: selectors.BaseSelector, config: Config, found: Callable[[Key, Endpoint, float], None]
    ) -> None:
        self._selector = selector
        self._config = config
        self._seal = Seal(config.secrets, "beacon")
        self._found = found
        self._once = Once(log)
        self.devices: dict[int, Interface] = {}  # by index
        self._open: dict[tuple[int, int], LanSocket] = {}  # by device index and IP version
        self._beacons: Beacons | None = None
        self._wireguard_port = 0
        self._due: list[float] = []

    def identify(self, beacons: Beacons, wireguard_port: int) -> None:
        """Who we are, as soon as the interface tells."""
        self._beacons = beacons
        self._wireguard_port = wireguard_port

    def update(self, devices: Iterable[Interface], now: float) -> None:
        """The machine's devices as they are now; called at start and whenever the network changed."""
        patterns, mesh = self._config.lan_interfaces, self._config.interface
        before, self.devices = (
            self.devices,
            {each.index: each for each in devices if is_wanted(each, patterns, mesh)},
        )
        if self.devices == before:
            return
        for index, version in list(self._open):
            device = self.devices.get(index)
            if device and version in LanSocket.versions(device):
                self._open[index, version].device = device
            else:
                self._close(index, version)
        if self._beacons:
            self._beacons.moved()
        self._due = [now + delay for delay in CHANGE_BEACONS]

    def close(self) -> None:
        for index, version in list(self._open):
            self._close(index, version)

    def next_due(self) -> float:
        return min(self._due, default=float("inf")) if self._beacons else float("inf")

    def turn(self, now: float) -> None:
        if self._beacons is None or now < self.next_due():
            return
        self._due = [due for due in self._due if due > now] or [now + BEACON_INTERVAL]
        for device in self.devices.values():
            for version in LanSocket.versions(device):
                open_already = self._open.get((device.index, version)) or self._start(device, version)
                if open_already:
                    self._shout(open_already, self._beacons, now)

    def _start(self, device: Interface, version: int) -> LanSocket | None:
        topic = f"{device.name}, IPv{version}"
        try:
            made = LanSocket(device, version, self._config.gossip_port)
        except OSError as error:
            self._once.say(topic, f"no LAN discovery on {topic}: {error.strerror or error}; trying again")
            return None
        self._once.over(topic)
        self._open[device.index, version] = made
        for via in (made.receiver, made.sender):
            self._selector.register(via, selectors.EVENT_READ, partial(self._hear, made, via))
        log.debug("LAN discovery on %s", topic)
        return made

    def _close(self, index: int, version: int) -> None:
        closing = self._open.pop((index, version))
        for via in (closing.receiver, closing.sender):
            self._selector.unregister(via)
        closing.close()

    def _shout(self, lan: LanSocket, beacons: Beacons, now: float) -> None:
        plain = beacons.beacon([host_of(each) for each in lan.device.addresses], now)
        try:
            lan.shout(self._seal.seal(plain))
        except OSError as error:
            log.debug("beacon on %s: %s", lan.device.name, error)

    def _hear(self, lan: LanSocket, via: socket.socket, now: float) -> None:
        own = [host_of(each) for each in lan.device.addresses]
        for heard in lan.hear(via, BATCH):
            plain = self._seal.open(heard.data)
            if plain is None or self._beacons is None:
                continue
            for each in self._beacons.receive(plain, heard.source, own, self._wireguard_port, now):
                if isinstance(each, Found):
                    self._found(each.key, each.endpoint, now)
                    continue
                try:
                    lan.answer(via, self._seal.seal(each.plain), heard, opens=each.opens)
                except OSError as error:
                    log.debug("LAN datagram to %s: %s", each.to, error)
