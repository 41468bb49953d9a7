"""The shell around the core: the only place that blocks, waits or reads a clock.

One thread and one selector loop. It owns no decision: it brings events to `Mesh` and carries out the effects
that come back. Each outside thing has a module of its own; this one only connects them.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import selectors
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from random import Random, SystemRandom

from .beacon import Beacons
from .config import Config
from .effects import Admit, Change, Effect, Look, Readd, Remove, Resolve, Save, Say, Send
from .exchange import Exchange, Heard, Refused, Unreadable
from .lan import Lan
from .log import TRACE
from .mesh import Mesh, Past
from .resolver import Resolver
from .seal import Seal
from .standpoint import Surroundings
from .store import Memory, Store
from .tunnel import Tunnel
from .values import Device, Endpoint, IPInterface, Key, key_text
from .watch import Watch
from .wireguard import WireGuard
from .wireguard.choose import open_wireguard

log = logging.getLogger(__name__)

LOOK_SPACING = 0.05  # s between two reads of the device, on average
LOOK_BURST = 4  # reads that may follow each other at once: shots must leave the moment news comes
LOOK_SHARE = 20  # times as long as a read took, the next one waits: reading never takes over 5 % of the time
RETRY = 1.0  # s between attempts to open what is not there yet
SAVE_DELAY = 2.0  # s in which changes gather before they are written
SAVE_RETRY = 30.0  # s after a failed write
WOKE = 5.0  # s by which a wait may be too long before we conclude that we were suspended
SIOCGIFFLAGS, IFF_UP = 0x8913, 0x1  # linux/sockios.h, linux/if.h


def now() -> float:
    """Seconds on a clock that never jumps and goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Agent:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._store = Store(config.persist_file) if config.persist_file else None
        self._past = Past()
        self._selector = selectors.DefaultSelector()
        self._gossip = Exchange(
            self._selector, Seal(config.secrets, "gossip"), config.gossip_port, self._hear
        )
        self._wireguard: WireGuard | None = None
        self._device: Device | None = None
        self._mesh: Mesh | None = None
        self._watch: Watch | None = None
        self._resolver: Resolver | None = None
        self._lan = self._discovery()
        self._stopping = False
        self._open_due = 0.0
        self._look_due = float("inf")
        self._look_allowed = 0.0
        self._look_budget = 0.0
        self._save_due = float("inf")
        self._said: dict[str, str] = {}  # by topic: what was logged last, so that it is logged once

    # -- life -----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises PermissionError with one line when rights are missing."""
        self._listen_for_signals()
        self._remember()
        try:
            while not self._stopping:
                self._turn()
        finally:
            self._stop()

    def _turn(self) -> None:
        """One turn of the loop: wait for something to happen, then do all that is due."""
        began = now()
        wait = max(0.0, self._next_due() - began)
        for key, _ in self._selector.select(min(wait, 3600.0)):
            handle: Callable[[float], None] = key.data
            handle(now())
        at = now()
        if self._mesh and at > began + wait + WOKE:
            log.info("woke up after %.0f s", at - began - wait)
            self._apply(self._mesh.woke(at), at)
        if self._mesh and self._wireguard:
            self._apply(self._mesh.tick(at), at)
        if self._lan:
            self._lan.tick(at)
        if at >= self._open_due and self._wireguard is None:
            self._open(at)
        if at >= self._look_due:
            self._look(at)
        if self._wireguard and at >= self._open_due:
            self._open_gossip(at)
        if at >= self._save_due:
            self._save(at)

    def _next_due(self) -> float:
        due = [self._open_due, self._look_due, self._save_due]
        if self._mesh and self._wireguard:
            due.append(max(self._mesh.next_tick(), 0.0))
        if self._lan:
            due.append(self._lan.next_tick())
        return min(due)

    def _listen_for_signals(self) -> None:
        heard, told = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop_signal)
        self._selector.register(heard, selectors.EVENT_READ, lambda _: os.read(heard, 64))

    def _on_stop_signal(self, *_: object) -> None:
        self._stopping = True

    def _stop(self) -> None:
        if self._mesh and self._save_due != float("inf"):
            self._save(now())
        log.info("stopped; peers and sessions stay as they are")

    # -- the interface --------------------------------------------------------------------------------

    def _open(self, at: float) -> None:
        name = self._config.interface
        self._open_due = at + RETRY
        try:
            if not _is_up(name):
                self._say_once("interface", f"{name} is down: waiting for it")
                return
            self._wireguard = open_wireguard(name)
        except PermissionError:
            raise
        except OSError as error:
            if error.errno == errno.ENODEV:
                self._say_once("interface", f"{name} does not exist yet: waiting for it")
            else:
                self._say_once("interface", f"{name}: {error}", logging.ERROR)
            if self._watch is None:
                self._start_watching()
            return
        self._look_due = at

    def _look(self, at: float) -> None:
        """Read the device and let the core see it, unless we did a moment ago."""
        if self._wireguard is None or at < self._look_allowed:
            self._look_due = self._look_allowed if self._wireguard else float("inf")
            return
        self._look_due = float("inf")
        try:
            device = self._wireguard.read()
        except OSError as error:
            self._trouble("reading", error, at)
            return
        after = now()
        spacing = max(LOOK_SPACING, LOOK_SHARE * (after - at))
        self._look_budget = max(self._look_budget, after) + spacing
        self._look_allowed = self._look_budget - (LOOK_BURST - 1) * spacing
        self._said.pop("reading", None)
        if device.key is None or not device.listen_port:
            lacks = "private key" if device.key is None else "listen port"
            self._say_once("interface", f"{device.name} has no {lacks} yet: waiting for it")
            self._look_due = after + RETRY
            return
        self._see(device, after)

    def _see(self, device: Device, at: float) -> None:
        if self._device and self._device.index != device.index:
            self._gossip.close()
            if self._mesh:
                self._apply(self._mesh.gone(at), at)
        if self._mesh is None or self._mesh.own != device.key:
            assert device.key is not None  # noqa: S101 - `_look` waits for it
            past = self._mesh.memory() if self._mesh else self._past
            # The core wants reproducible randomness; nothing in it is secret.
            rng = Random(SystemRandom().getrandbits(64))  # noqa: S311
            self._mesh = Mesh(device.key, self._config.members, rng=rng, now=at, past=past)
        if self._lan and device.private_key and (self._device is None or self._device.key != device.key):
            self._lan.identify(
                Beacons(device.private_key, device.key, self._mesh.links.keys), device.listen_port
            )
        known, self._device = self._device, device
        self._apply(self._mesh.device(device, at), at)
        if known is None or self._said.get("interface"):
            self._said.pop("interface", None)
            count = len(self._mesh.links)
            log.info(
                "%s configured: %d members, listening on port %d", device.name, count, device.listen_port
            )
            self._start_watching()
            self._open_gossip(at)

    def _lost(self, at: float) -> None:
        """The interface vanished: wait for it to come back."""
        self._say_once("interface", f"{self._config.interface} is gone: waiting for it")
        if self._wireguard:
            self._wireguard.close()
        self._wireguard = None
        self._look_due = float("inf")
        self._open_due = at
        self._gossip.close()
        if self._mesh:
            self._apply(self._mesh.gone(at), at)

    def _trouble(self, doing: str, error: OSError, at: float) -> None:
        """A call to WireGuard failed: lost, or worth one line and another try."""
        if error.errno in (errno.ENODEV, errno.ENXIO):
            self._lost(at)
        elif isinstance(error, PermissionError) and self._device is None:
            raise error
        else:
            self._say_once(doing, f"{self._config.interface}: {doing} failed: {error}", logging.ERROR)
            self._look_due = min(self._look_due, at + RETRY)

    # -- effects --------------------------------------------------------------------------------------

    def _apply(self, effects: Iterable[Effect], at: float) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._send(effect, at)
                case Look():
                    self._look_due = min(self._look_due, max(at, self._look_allowed))
                case Save():
                    self._save_due = min(self._save_due, at + SAVE_DELAY)
                case Say(level, text):
                    log.log(level, "%s", text)
                case Resolve(key, host, port):
                    self._start_resolver().ask(key, host, port)
                case _:
                    self._configure(effect, at)

    def _configure(self, effect: Admit | Change | Readd | Remove, at: float) -> None:
        if self._wireguard is None:
            return
        log.log(TRACE, "%s", effect)
        try:
            match effect:
                case Admit(peer):
                    self._wireguard.add(peer)
                case Change(key, endpoint, keepalive, allowed_ips):
                    self._wireguard.update(
                        key, endpoint=endpoint, keepalive=keepalive, allowed_ips=allowed_ips
                    )
                case Readd(peer):
                    self._wireguard.readd(peer)
                case Remove(key):
                    self._wireguard.remove(key)
                    log.info("%s… is no member any more: removed", key_text(key)[:10])
        except OSError as error:
            self._trouble("configuring", error, at)

    def _send(self, effect: Send, at: float) -> None:
        if not self._gossip.is_open:
            self._open_gossip(at)
        try:
            self._gossip.send(effect.member, effect.message)
        except OSError as error:
            self._gossip_broke(error, at)

    def _say_once(self, topic: str, text: str, level: int = logging.WARNING) -> None:
        if self._said.get(topic) != text:
            self._said[topic] = text
            log.log(level, "%s", text)

    # -- gossip ---------------------------------------------------------------------------------------

    def _open_gossip(self, at: float) -> None:
        self._open_due = float("inf")
        if self._device is None or self._mesh is None or self._wireguard is None:
            return
        self._start_watching()
        members = [link.member.address for link in self._mesh.links.values()]
        if not self._gossip.open(self._device.name, self._interface_addresses(), members):
            self._open_due = at + RETRY

    def _gossip_broke(self, error: OSError, at: float) -> None:
        """The socket is of no use any more: its device was deleted, or made anew."""
        log.debug("gossip socket: %s", error)
        self._gossip.close()
        self._look_due = min(self._look_due, at)
        self._open_due = min(self._open_due, at + RETRY)

    def _hear(self, tunnel: Tunnel, at: float) -> None:
        if self._mesh is None:
            return
        try:
            for heard in self._gossip.receive(tunnel):
                match heard:
                    case Refused(ip):
                        self._apply(self._mesh.refused(ip, at), at)
                    case Unreadable(ip):
                        self._apply(self._mesh.unreadable(ip, at), at)
                    case Heard(ip, message):
                        self._apply(self._mesh.receive(ip, message, at), at)
        except OSError as error:
            self._gossip_broke(error, at)

    def _interface_addresses(self) -> Sequence[IPInterface]:
        interfaces = self._watch.interfaces() if self._watch else {}
        interface = interfaces.get(self._device.index) if self._device else None
        return interface.addresses if interface else ()

    # -- everything else ------------------------------------------------------------------------------

    def _start_watching(self) -> None:
        if self._watch is None:
            self._watch = Watch()
            self._selector.register(self._watch, selectors.EVENT_READ, self._network_changed)
            self._survey(now())

    def _network_changed(self, at: float) -> None:
        if self._watch and self._watch.drain():
            self._survey(at)
            if self._wireguard is None or not self._gossip.is_open:
                self._open_due = at

    def _survey(self, at: float) -> None:
        """Tell the core and the LAN what our side of the network looks like now."""
        assert self._watch is not None  # noqa: S101
        interfaces = self._watch.interfaces()
        if self._device and self._device.index not in interfaces:
            self._lost(at)
        mine = interfaces.get(self._device.index) if self._device else None
        lans = [each for each in interfaces.values() if each.lan]
        if self._lan:
            self._lan.update(lans, at)
        addresses = tuple(sorted((ip for each in lans for ip in each.addresses), key=str))
        if self._mesh:
            around = Surroundings(addresses, tuple(mine.addresses) if mine else ())
            self._apply(self._mesh.network(around, at), at)

    def _start_resolver(self) -> Resolver:
        if self._resolver is None:
            self._resolver = Resolver()
            self._selector.register(self._resolver, selectors.EVENT_READ, self._resolved)
        return self._resolver

    def _resolved(self, at: float) -> None:
        for answer in self._start_resolver().answers():
            topic = f"dns {answer.host}"
            if answer.error:
                self._say_once(topic, f"{answer.host} does not resolve: {answer.error}")
            else:
                self._said.pop(topic, None)
            if self._mesh and answer.endpoints:
                self._apply(self._mesh.resolved(answer.key, answer.endpoints, at), at)

    def _discovery(self) -> Lan | None:
        if not self._config.lan_discovery:
            return None
        if not self._config.secrets:
            log.warning("LAN discovery stays off: without a gossip secret no beacon could be believed")
            return None
        return Lan(
            self._selector, Seal(self._config.secrets, "beacon"), self._config.gossip_port, self._found
        )

    def _found(self, key: Key, endpoint: Endpoint, at: float) -> None:
        if self._mesh:
            self._apply(self._mesh.found_on_lan(key, endpoint, at), at)

    # -- memory ---------------------------------------------------------------------------------------

    def _remember(self) -> None:
        if self._store is None:
            return
        memory, warning = self._store.load()
        if warning:
            log.warning("%s", warning)
        self._past = Past(memory.endpoints, memory.added)

    def _save(self, at: float) -> None:
        self._save_due = float("inf")
        if self._store is None or self._mesh is None:
            return
        past = self._mesh.memory()
        memory = Memory(
            added=past.made, endpoints={key: tuple(kept)[:4] for key, kept in past.endpoints.items()}
        )
        try:
            self._store.save(memory)
        except OSError as error:
            self._say_once("save", f"cannot write {self._config.persist_file}: {error}; going on without")
            self._save_due = at + SAVE_RETRY
        else:
            self._said.pop("save", None)


def _is_up(name: str) -> bool:
    """Whether the interface is set up. Raises OSError with ENODEV if there is none of that name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sH14x", name.encode(), 0)
        _, flags = struct.unpack("16sH14x", fcntl.ioctl(probe, SIOCGIFFLAGS, request))
        return bool(flags & IFF_UP)


def run(config: Config) -> None:
    """Serve the mesh until told to stop. Raises PermissionError with one line when rights are missing."""
    Agent(config).run()
