"""The core's face: events come in, effects go out, `now` is always an argument (s on one steady clock).

Deterministic and without I/O, clock, thread or randomness of its own, so that the agent, the tests and a
simulator all run this very code. Here events are sorted: how a link without a session is pursued stands in
`pursuit.py`, how one with a session is watched in `probing.py`, what members say in `dialogue.py`, and who is
told what in `gossip.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from .candidates import Candidate, configured
from .census import Census
from .choice import Choice
from .dialogue import Dialogue
from .effects import Effect, Level, Look, Save, Say
from .gate import Gate
from .gossip import Gossip
from .herald import Herald
from .link import MISSED_INTERVAL, MISSES_ADOPTED, Event, Link, Roll, State
from .messages import Kind, Message
from .move import Mover
from .pace import look_spacing
from .past import Past, remember
from .probing import Prober
from .pursuit import LAN_HIGH_WAITS, Pursuit
from .standpoint import Standpoint, Surroundings
from .timers import Timers
from .values import Device, Endpoint, IPAddress, Key, Member

LOOK_CONNECTING = 1.0  # s between reads of the device while something is being connected
LOOK_IDLE = 10.0  # s otherwise

__all__ = ["Mesh", "Past"]


class Mesh:
    """All links of one node. Every public method that takes `now` returns the effects it calls for."""

    def __init__(self, own: Key, members: Iterable[Member], *, rng: Random, now: float, past: Past) -> None:
        self.own = own
        self.links: dict[Key, Link] = {}
        self.standpoint = Standpoint()
        self._rng = rng
        self._out: list[Effect] = []
        self.roll = Roll()
        self.gossip = Gossip(own, self.links, self.roll, rng, self._out)
        self.census = Census(self.links, self.standpoint, self.gossip, rng, self._out)
        self._gate = Gate(self.links, past.made, self._schedule, self._out)
        self._herald = Herald(self.standpoint, self.gossip, self._out)
        self.choice = Choice(self.gossip.book, self.standpoint, self._gate)
        self._prober = Prober(
            self.links,
            self.roll,
            self.gossip,
            self.standpoint,
            self.choice,
            self._schedule,
            self._came_up,
            rng,
            self._out,
        )
        self._pursuit = Pursuit(
            self.links,
            self.roll,
            self.gossip,
            self.standpoint,
            self.choice,
            self._prober,
            self._schedule,
            self._came_up,
            rng,
            self._out,
        )
        self._dialogue = Dialogue(
            self.links,
            self.gossip,
            self.census,
            self._herald,
            self._prober,
            self._pursuit,
            self._schedule,
            self._came_up,
            self._out,
        )
        self._mover = Mover(
            self.links, self.choice, self._prober, self._pursuit, self.standpoint, self._schedule, self._out
        )
        self._looked = float("-inf")
        self._look_asked = False
        self._joined: list[Key] = []  # members that came while it ran: they begin with the next look
        self._timers = Timers()
        for member in members:
            if member.key != own:
                self._add(member, past.endpoints.get(member.key, ()), now)

    # -- events ---------------------------------------------------------------------------------------

    def device(self, device: Device, now: float) -> list[Effect]:
        """The interface as just read. Effects that make peers come before the first datagram."""
        looked, self._looked, self._look_asked = self._looked, now, False
        self._herald.listening(device.listen_port, now)
        self._gate.look(device, now)
        for key, link in self.links.items():
            peer = device.peers.get(key)
            if peer and not link.is_as(peer):
                before, shaken = link.endpoint, link.handshake
                link.observe(peer, now, looked=looked)
                if link.is_up and link.endpoint and link.endpoint != before:
                    self._roamed(link, before, now)
                if (
                    link.state is State.NO_CANDIDATE
                    and shaken != link.handshake
                    and not self._pursuit.adopting
                ):
                    self._prober.hello(link, now)  # the member made a session: answer it
        if self._pursuit.adopting:
            self._pursuit.adopting = False
            self._herald.announce(now)
            self._joined = list(self.links)
        for key in self._joined:
            self._begin(self.links[key], now)
        self._joined.clear()
        self._mover.look(device, now)
        self._dialogue.look(now)
        self._pursuit.act(device, now)
        return self._take()

    def gone(self, now: float) -> list[Effect]:
        """The interface vanished, and all sessions with it."""
        self._pursuit.adopting, self._look_asked = True, False
        self._gate.members_changed()
        self._dialogue.gone()
        for key, link in self.links.items():
            link.lost(now)
            self._timers.clear(key)
            self.standpoint.forget(key)
            self.gossip.forget(key)
        return self._take()

    def owner(self, ip: IPAddress) -> Key | None:
        """The member that speaks for this address, by WireGuard's word."""
        key = self._gate.routing.owner(ip)
        return key if key in self.links else None

    def receive(self, ip: IPAddress, message: Message, now: float) -> list[Effect]:
        """An opened message that came through the tunnel from `ip`. Who sent it is WireGuard's word."""
        link = self.links.get(self._gate.routing.owner(ip) or self.own)
        if link is None or link.blocked:
            return []
        link.other_secret = False
        self._mover.heard(link, now)
        self._dialogue.receive(link, message, now)
        return self._take()

    def refused(self, ip: IPAddress, now: float) -> list[Effect]:
        """A datagram to `ip` was answered by "port unreachable" through the tunnel: the path works."""
        link = self.links.get(self._gate.routing.owner(ip) or self.own)
        if link is not None and not link.blocked:
            self._dialogue.receive(link, None, now)
        return self._take()

    def unreadable(self, ip: IPAddress, now: float) -> list[Effect]:
        """A datagram from `ip` does not open with our gossip secret."""
        link = self.links.get(self._gate.routing.owner(ip) or self.own)
        if link is not None:
            self._dialogue.unreadable(link, now)
        return self._take()

    def resolved(self, key: Key, endpoints: Iterable[Endpoint], now: float) -> list[Effect]:
        """The addresses of a configured DNS name."""
        if key in self.links:
            candidates = [Candidate(each, Kind.CONFIGURED, now) for each in endpoints]
            self._pursuit.offer(self.links[key], candidates, now)
        return self._take()

    def found_on_lan(self, key: Key, endpoint: Endpoint, now: float) -> list[Effect]:
        """A member proved with its key that it is at this on-link address."""
        link = self.links.get(key)
        if link and link.is_up and not self.choice.refuses(endpoint):
            self._mover.found(link, Candidate(endpoint, Kind.LAN, now), now)
        elif link:
            wait = 0.0 if link.low else LAN_HIGH_WAITS
            self._pursuit.offer(link, [Candidate(endpoint, Kind.LAN, now)], now, wait=wait, fresh=True)
        return self._take()

    def network(self, surroundings: Surroundings, now: float) -> list[Effect]:
        """Our own addresses, at start and whenever they may have changed: prove all paths again."""
        before, self.standpoint.surroundings = self.standpoint.surroundings, surroundings
        if surroundings != before and not self._pursuit.adopting:
            self._herald.announce(now)
            if before != Surroundings():
                self._mover.network(now)
        return self._take()

    def mapped(self, endpoints: tuple[Endpoint, ...], now: float) -> list[Effect]:
        """Our router opened ports, and these endpoints lead here now."""
        self.standpoint.mapped = endpoints
        self._herald.announce(now)
        return self._take()

    def woke(self, now: float) -> list[Effect]:
        """We were suspended: no session can be taken for granted."""
        for link in self.links.values():
            link.patience = min(link.patience, MISSES_ADOPTED)
        self._mover.prove_all(now)
        return self._take()

    def reconfigure(self, members: Iterable[Member], now: float) -> list[Effect]:
        """Another member list. Links of those that stay are not touched."""
        wanted = {member.key: member for member in members if member.key != self.own}
        for key in [key for key in self.links if key not in wanted]:
            self._drop(key)
        for key, member in wanted.items():
            link = self.links.get(key)
            if link is None:
                self._add(member, (), now)
                self._joined.append(key)
            elif member != link.member:
                link.former = (link.former | frozenset(link.member.networks)) - frozenset(member.networks)
                link.member = member
                self._pursuit.offer(link, configured(member, now), now)
        self._gate.members_changed()
        self._out.append(Look())  # admits and removes peers
        return self._take()

    def tick(self, now: float) -> list[Effect]:
        """Do what is due. To be called at `next_tick`; sooner or later does no harm."""
        for key in self._timers.ring(now):
            link = self.links[key]
            if link.is_up:
                self._prober.probe(link, now)
                if link.state is State.SILENT:
                    self._pursuit.fell_silent(link, now)
            else:
                self._pursuit.pursue(link, now)
        if now >= self._herald.due:
            self._herald.announce(now)
        if now >= self._mover.due:
            self._mover.tick(now)
        self.gossip.tell(now)
        if now >= self._next_look():
            self._look_asked = True
            self._out.append(Look())
        return self._take()

    def next_tick(self) -> float:
        return min(self._timers.next(), self._next_look(), self._herald.due, self._mover.due, self.gossip.due)

    @property
    def made(self) -> set[Key]:
        """The peers on the interface that we put there."""
        return self._gate.made

    def memory(self) -> Past:
        """What is worth keeping across a restart."""
        return remember(self.links, self.made)

    # -- what becomes of links ------------------------------------------------------------------------

    def _add(self, member: Member, restored: Iterable[Endpoint], now: float) -> None:
        link = Link(member, low=self.own < member.key, rng=self._rng, now=now, roll=self.roll)
        self.links[member.key] = link
        for candidate in configured(member, now):
            link.candidates.offer(candidate)
        for age, endpoint in enumerate(restored):
            link.candidates.offer(Candidate(endpoint, Kind.RESTORED, now - age))

    def _drop(self, key: Key) -> None:
        link = self.links.pop(key)
        self.roll.leave(link)
        self._timers.clear(key)
        self.standpoint.forget(key)
        self.gossip.drop(key)
        self.census.drop(key)
        if key in self._joined:
            self._joined.remove(key)

    def _begin(self, link: Link, now: float) -> None:
        """First look at this member on this interface: go on with its session, or try to reach it."""
        if link.blocked:
            return
        self._pursuit.resolve(link, now)
        if link.handshake and link.endpoint:
            link.candidates.offer(Candidate(link.endpoint, Kind.OBSERVED, now))
            link.patience = MISSES_ADOPTED
            link.happened(Event.SESSION_FOUND, now)
            self._schedule(link, now)
            return
        if link.endpoint:
            link.candidates.offer(Candidate(link.endpoint, Kind.CONFIGURED, now))
        self._pursuit.start(link, now)

    def _came_up(self, link: Link, now: float) -> None:
        """The link works now: note where, tell the operator, and talk."""
        origin = link.candidates.get(link.endpoint) if link.endpoint else None
        if link.endpoint:
            link.candidates.confirm(link.endpoint, now)
        link.proved_alive(now)
        link.told, link.complaint = True, ""
        link.reached()
        how = origin.learned_from if origin else "its own handshake"
        if origin and origin.kind is Kind.CONFIGURED and origin.source is None:
            how = link.member.origin
        agent = "" if link.agent else "; its agent does not answer"
        text = f"connected at {link.endpoint} after {link.downtime(now)} (learned from {how}){agent}"
        self._say(Level.INFO, link, text)
        self._out.append(Save())
        self.gossip.greet(link, now)
        self._prober.hello(link, now)
        self._schedule(link, now + MISSED_INTERVAL)

    def _roamed(self, link: Link, before: Endpoint | None, now: float) -> None:
        self._say(Level.DEBUG, link, f"is at {link.endpoint} now")
        if link.is_lan(before) != link.is_lan(link.endpoint):
            link.rtt = None  # the other path's round trip says nothing of this one
        if link.endpoint and link.state is State.CONNECTED:
            link.candidates.confirm(link.endpoint, now)
            self._out.append(Save())
            if not any(each.on_lan for each in link.candidates):  # else it could roam to and fro for ever
                self._prober.hello(link, now)  # which tells the member where it is seen

    # -- timers and effects ---------------------------------------------------------------------------

    def _schedule(self, link: Link, due: float) -> None:
        self._timers.set(link.member.key, due)

    def _next_look(self) -> float:
        if self._look_asked or self._pursuit.adopting:
            return float("inf")
        least = LOOK_CONNECTING if self._pursuit.busy else LOOK_IDLE
        return self._looked + look_spacing(len(self.links), least)

    def _say(self, level: Level, link: Link, text: str) -> None:
        self._out.append(Say(level, f"{link.member} {text}", link.member.key))

    def _take(self) -> list[Effect]:
        effects = list(self._out)
        self._out.clear()
        return effects
