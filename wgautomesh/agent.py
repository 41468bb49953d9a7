"""The shell around the core: the only place that waits or reads a clock.

One thread and one selector loop. It decides nothing: it brings events to `Mesh` and carries out the effects
that come back. Each outside thing has a module of its own; this one only connects them.
"""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable, Sequence
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Protocol

from .beacon import Beacons
from .config import Config, load
from .effects import Effect, Look, Resolve, Save, Say, Send
from .exchange import Exchange, Heard, Refused, Unreadable
from .interface import RETRY, Interface
from .keeper import Keeper
from .lan import discovery
from .log import Once
from .membership import Membership
from .mesh import Mesh, Past
from .notify import Notifier
from .report import View
from .reporter import Reporter
from .resolver import Names
from .routes.table import Routes
from .seal import Seal
from .signals import Signals
from .standpoint import Surroundings
from .store import Memory
from .survey import Survey
from .tunnel import Tunnel
from .values import Device, Endpoint, IPAddress, IPInterface, Key, Member, key_text

if TYPE_CHECKING:
    from .portmap.ports import Ports

log = logging.getLogger(__name__)

WOKE = 5.0  # s by which a wait may be too long before we conclude that we were suspended
DISCOVERY = ("secrets", "lan_discovery", "lan_interfaces")  # settings that LAN discovery is made from
FIXED = (
    "interface",
    "gossip_port",
    "control_socket",
    "metrics_listen",
)  # settings that a reload cannot change


def now() -> float:
    """Seconds on a clock that never jumps and goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Part(Protocol):
    """Something of the agent that wants a turn by itself."""

    def next_due(self) -> float:
        """When it wants one, on the clock of `now`."""

    def turn(self, now: float, /) -> None:
        """Do what is due; sooner does no harm."""


class Agent:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._once = Once(log)
        self._selector = selectors.DefaultSelector()
        self._interface = Interface(config.interface, self._lost)
        seal = Seal(config.secrets, "gossip")
        self._gossip = Exchange(self._selector, seal, config.gossip_port, self._hear, self._owner)
        self._lan = discovery(self._selector, self._config, self._found)
        self._ports: Ports | None = None
        self._notify = Notifier()
        self._reporter = Reporter(self._selector, config, self._view, self._ask_for_links, self._gossip.tally)
        self._started = now()
        self._past = Past()
        self._membership = Membership(self._selector, self._members_changed)
        self._members: Sequence[Member] = ()  # as the core knows them
        self._device: Device | None = None
        self._mesh: Mesh | None = None
        self._survey = Survey(self._selector, self._network_changed, self._network_listed)
        self._map_ports(config.upnp_forward_external_port, 0.0)
        self._keeper = Keeper(config.persist_file, self._worth_keeping)
        self._names = Names(self._selector, self._resolved)
        self._routes = Routes()
        self._signals = Signals(self._selector)
        self._gossip_due = float("inf")

    # -- life -----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises PermissionError with one line when rights are missing."""
        self._signals.listen()
        memory = self._keeper.load()
        self._past = Past(memory.endpoints, memory.added)
        self._membership.configure(self._config, memory.dns, now())
        self._reporter.open(now())
        self._notify.ready()  # waiting for the interface is part of the service
        try:
            while not self._signals.end:
                self._turn()
        finally:
            self._stop()

    def _turn(self) -> None:
        """One turn of the loop: wait for something to happen, then do all that is due."""
        began = now()
        wait = min(max(0.0, self._next_due() - began), 3600.0)
        ready = self._selector.select(wait)
        woke = now()
        for key, _ in ready:
            handle: Callable[[float], None] = key.data
            handle(now())
        at = now()
        if self._signals.reload():
            self._reload(at)
        if self._mesh and at > began + wait + WOKE:
            log.info("woke up after %.0f s", at - began - wait)
            self._apply(self._mesh.woke(at), at)
            if self._ports:
                self._ports.woke(at)
        if self._mesh and self._interface.is_open:
            self._apply(self._mesh.tick(at), at)
        device = self._interface.turn(at)
        if device:
            self._see(device, at)
        elif not self._interface.is_open:
            self._survey.start(at)  # tells when it comes
        if at >= self._gossip_due:
            self._open_gossip(at)
        for part in self._parts():
            part.turn(now())  # listing the interfaces for the first time takes longer than a router's answer
        self._reporter.held(now() - woke)

    def _parts(self) -> list[Part]:
        optional: list[Part | None] = [self._lan, self._ports]
        always: list[Part] = [self._survey, self._membership, self._keeper, self._reporter, self._notify]
        return [*filter(None, optional), *always]

    def _next_due(self) -> float:
        due = [self._interface.next_due(), self._gossip_due]
        due += [part.next_due() for part in self._parts()]
        if self._mesh and self._interface.is_open:
            due.append(self._mesh.next_tick())
        return min(due)

    def _reload(self, at: float) -> None:
        """Read the file again and apply the difference; a broken one changes nothing."""
        self._notify.reloading()
        config, mistakes = load(self._config.path, running=True)
        for mistake in mistakes:
            log.error("%s: %s", self._config.path, mistake)
        if config is None:
            log.error("%s is not used: going on as before", self._config.path)
        elif any(getattr(config, key) != getattr(self._config, key) for key in FIXED):
            log.error("%s: %s cannot change while running: restart", self._config.path, ", ".join(FIXED))
        else:
            self._reconfigure(config, at)
            log.info("reloaded: %d members", len(self._mesh.links) if self._mesh else len(config.members))
        self._notify.ready()

    def _reconfigure(self, config: Config, at: float) -> None:
        before, self._config = self._config, config
        self._gossip.reseal(Seal(config.secrets, "gossip"))
        if any(getattr(config, key) != getattr(before, key) for key in DISCOVERY):
            if self._lan:
                self._lan.close()
            self._lan = discovery(self._selector, self._config, self._found)
            self._identify()
            self._survey.list(at)
        self._membership.configure(config, self._membership.keep(), at)
        self._members_changed(at)
        if config.upnp_forward_external_port != before.upnp_forward_external_port:
            self._map_ports(config.upnp_forward_external_port, at)
        self._route(look=False)
        self._keeper.move(config.persist_file, at)

    def _stop(self) -> None:
        self._notify.stopping()
        if self._ports:
            self._ports.close(now())
        self._keeper.close(now())
        self._reporter.close()
        log.info("stopped; peers and sessions stay as they are")

    # -- the interface --------------------------------------------------------------------------------

    def _see(self, device: Device, at: float) -> None:
        known, self._device = self._device, device
        if self._mesh and known and known.index != device.index:
            self._gossip.close()
            self._apply(self._mesh.gone(at), at)
        if self._mesh is None or self._mesh.own != device.key:
            self._begin(device, at)
        if known and (known.index, known.listen_port) != (device.index, device.listen_port):
            self._identify()
            self._survey.list(at)
        if self._mesh:
            self._reporter.look(self._mesh, device, at)
            self._apply(self._mesh.device(device, at), at)
            self._notify.status(self._status(self._mesh))
            self._route(look=False)
        if known is None or known.index != device.index or not self._gossip.is_open:
            count = len(self._mesh.links) if self._mesh else 0
            text = f"{device.name} configured: {count} members, listening on port {device.listen_port}"
            self._once.say("configured", text, logging.INFO)
            self._open_gossip(at)

    def _begin(self, device: Device, at: float) -> None:
        """We know who we are."""
        if device.key is None:
            return
        if self._membership.needs_addresses:
            self._survey.start(at)
        past = self._mesh.memory() if self._mesh else self._past
        self._members = self._membership.members(device, self._interface_addresses())
        # The core wants reproducible randomness; nothing in it is secret.
        rng = Random(SystemRandom().getrandbits(64))  # noqa: S311
        self._mesh = Mesh(device.key, self._members, rng=rng, now=at, past=past)
        self._identify()
        self._survey.list(at)

    def _members_changed(self, at: float) -> None:
        """A source of members has spoken, or our own addresses, on which some depend, may have changed."""
        if self._mesh is None or self._device is None:
            return
        members = self._membership.members(self._device, self._interface_addresses())
        if members != self._members:
            self._members = members
            self._keeper.changed(at)
            self._apply(self._mesh.reconfigure(members, at), at)
            self._gossip.forget(self._mesh.links)
            self._open_gossip(at)

    def _identify(self) -> None:
        device, mesh = self._device, self._mesh
        if self._lan and mesh and device and device.private_key:
            self._lan.identify(Beacons(device.private_key, mesh.own, mesh.links.keys), device.listen_port)
        if self._ports and device and device.private_key:
            self._ports.identify(device.private_key, device.listen_port, now())

    def _lost(self, at: float) -> None:
        """The interface vanished."""
        self._once.over("configured")
        self._gossip.close()
        self._gossip_due = float("inf")
        if self._mesh:
            self._apply(self._mesh.gone(at), at)

    @staticmethod
    def _status(mesh: Mesh) -> str:
        up = sum(link.is_up for link in mesh.links.values())
        return f"{up} of {len(mesh.links)} peers connected"

    def _view(self, at: float) -> View:
        """What the operator may know."""
        config = self._config
        return View(
            interface=config.interface,
            members=self._members,
            now=at,
            started=self._started,
            gossip_port=config.gossip_port,
            gossip_open=self._gossip.is_open,
            sealed=bool(config.secrets),
            mesh=self._mesh,
            device=self._device,
            waiting=self._interface.waiting,
            mapping=self._ports.state() if self._ports else None,
        )

    def _ask_for_links(self, at: float) -> float | None:
        """For a picture of the whole mesh; when to come again, None once that is all."""
        if self._mesh is None or not self._interface.is_open:
            return None
        due = self._mesh.census.ask(at)
        self._apply(self._mesh.tick(at), at)
        return due

    # -- effects --------------------------------------------------------------------------------------

    def _apply(self, effects: Sequence[Effect], at: float) -> None:
        if self._mesh:
            self._reporter.watch(self._mesh, effects, at)
        for effect in effects:
            match effect:
                case Send():
                    self._send(effect, at)
                case Look():
                    self._interface.look(at)
                case Save():
                    self._keeper.changed(at)
                case Say(level, text, about):
                    log.log(level, "%s", text, extra={"peer": key_text(about)} if about else None)
                case Resolve(key, host, port):
                    self._names.ask(key, host, port)
                case _:
                    self._interface.configure(effect, at)

    def _send(self, effect: Send, at: float) -> None:
        if not self._gossip.is_open:
            self._open_gossip(at)
        try:
            self._gossip.send(effect.member, effect.message, at)
        except OSError as error:
            self._gossip_broke(error, at)

    # -- gossip ---------------------------------------------------------------------------------------

    def _open_gossip(self, at: float) -> None:
        """Open what is missing; every member is on the interface by now, so nobody else has its address."""
        self._gossip_due = float("inf")
        if self._device is None or self._mesh is None or not self._interface.is_open:
            return
        self._survey.start(at)
        members = [link.member.address for link in self._mesh.links.values()]
        if not self._gossip.open(self._device.name, self._interface_addresses(), members):
            self._gossip_due = at + RETRY

    def _gossip_broke(self, error: OSError, at: float) -> None:
        """The socket is of no use any more: its device was deleted, or made anew."""
        log.debug("gossip socket: %s", error)
        self._gossip.close()
        self._interface.look(at)
        self._gossip_due = min(self._gossip_due, at + RETRY)

    def _hear(self, tunnel: Tunnel, at: float) -> None:
        if self._mesh is None:
            return
        try:
            for heard in self._gossip.receive(tunnel, at):
                match heard:
                    case Refused(ip):
                        self._apply(self._mesh.refused(ip, at), at)
                    case Unreadable(ip):
                        self._apply(self._mesh.unreadable(ip, at), at)
                    case Heard(ip, message):
                        self._apply(self._mesh.receive(ip, message, at), at)
        except OSError as error:
            self._gossip_broke(error, at)

    def _owner(self, ip: IPAddress) -> Key | None:
        return self._mesh.owner(ip) if self._mesh else None

    def _interface_addresses(self) -> Sequence[IPInterface]:
        interface = self._survey.interfaces.get(self._device.index) if self._device else None
        return interface.addresses if interface else ()

    # -- everything else ------------------------------------------------------------------------------

    def _network_changed(self, at: float) -> None:
        if not self._interface.is_open:
            self._interface.hurry(at)
        elif not self._gossip.is_open:
            self._gossip_due = at

    def _network_listed(self, at: float) -> None:
        """Tell the core and the LAN what our side of the network looks like now."""
        interfaces = self._survey.interfaces
        if self._interface.is_open and self._device and self._device.index not in interfaces:
            self._interface.gone(at)
        if self._lan:
            self._lan.update(interfaces.values(), at)
        if self._ports:
            self._ports.network(self._survey.gateways, interfaces, at)
        if self._mesh:
            lans = self._lan.devices.values() if self._lan else ()
            reachable = [each for each in interfaces.values() if each.lan or each in lans]
            addresses = tuple(sorted((ip for each in reachable for ip in each.addresses), key=str))
            around = Surroundings(addresses, tuple(self._interface_addresses()))
            self._apply(self._mesh.network(around, at), at)
        self._membership.network_changed(at)
        self._members_changed(at)
        self._route(look=True)

    def _route(self, *, look: bool) -> None:
        """`look`: routes may have changed by other hands."""
        if self._device and self._mesh:
            addresses = {index: each.addresses for index, each in self._survey.interfaces.items() if each.up}
            self._routes.follow(self._config.routes, self._device, self._mesh.links, addresses, look=look)

    def _found(self, key: Key, endpoint: Endpoint, at: float) -> None:
        if self._mesh:
            self._apply(self._mesh.found_on_lan(key, endpoint, at), at)

    def _map_ports(self, external_port: int | None, at: float) -> None:
        """Have the router open this port; 0 is any, None closes what is open."""
        if self._ports is None and external_port is not None:
            from .portmap.ports import Ports  # noqa: PLC0415 - few nodes need it

            self._ports = Ports(self._selector, self._opened)
            self._survey.wants_gateways = True
            self._identify()
            self._survey.list(at)
        if self._ports:
            self._ports.wish(external_port, at)

    def _opened(self, endpoints: tuple[Endpoint, ...], at: float) -> None:
        if self._mesh:
            self._apply(self._mesh.mapped(endpoints, at), at)
            self._mesh.standpoint.behind_two_nats = bool(self._ports and self._ports.behind_two_nats)

    def _resolved(self, key: Key, endpoints: Sequence[Endpoint], at: float) -> None:
        if self._mesh:
            self._apply(self._mesh.resolved(key, endpoints, at), at)

    def _worth_keeping(self) -> Memory | None:
        if self._mesh is None:
            return None
        past = self._mesh.memory()
        endpoints = {key: tuple(kept) for key, kept in past.endpoints.items()}
        return Memory(added=past.made, endpoints=endpoints, dns=self._membership.keep())


def run(config: Config) -> None:
    """Serve the mesh until told to stop. Raises PermissionError with one line when rights are missing."""
    Agent(config).run()
