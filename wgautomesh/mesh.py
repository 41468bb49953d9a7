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
from .common import Common
from .dialogue import Dialogue
from .effects import Effect, Level, Look, Save
from .gate import Gate
from .gossip import Gossip
from .herald import Herald
from .link import MISSES_ADOPTED, Event, Link, State
from .messages import Kind, Message
from .move import Mover
from .pace import look_spacing
from .past import Past, remember
from .probing import Prober
from .pursuit import LAN_HIGH_WAITS, Pursuit
from .standpoint import Surroundings
from .values import Device, Endpoint, IPAddress, Key, Member

LOOK_CONNECTING = 1.0  # s between reads of the device while something is being connected
LOOK_IDLE = 10.0  # s otherwise

__all__ = ["Mesh", "Past"]


class Mesh:
    """All links of one node. Every public method that takes `now` returns the effects it calls for."""

    def __init__(self, own: Key, members: Iterable[Member], *, rng: Random, now: float, past: Past) -> None:
        self.own = own
        self.common = common = Common(own, rng)
        self.links, self.standpoint, self._out = common.links, common.standpoint, common.out
        self.gossip = Gossip(common)
        self.census = Census(common, self.gossip)
        self._gate = Gate(common, past.made)
        self._herald = Herald(common, self.gossip)
        self.choice = Choice(self.gossip.book, common.standpoint, self._gate)
        self._prober = Prober(common, self.gossip, self.choice)
        self._pursuit = Pursuit(common, self.gossip, self.choice, self._prober)
        self._dialogue = Dialogue(common, self.gossip, self.census, self._herald, self._prober, self._pursuit)
        self._mover = Mover(common, self.choice, self._prober, self._pursuit)
        self._looked = float("-inf")
        self._look_asked = False
        self._joined: list[Key] = []  # members that came while it ran: they begin with the next look
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
            self.common.timers.clear(key)
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
        for key in self.common.timers.ring(now):
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
        alarm = self.common.timers.next()
        return min(alarm, self._next_look(), self._herald.due, self._mover.due, self.gossip.due)

    @property
    def made(self) -> set[Key]:
        """The peers on the interface that we put there."""
        return self._gate.made

    def memory(self) -> Past:
        """What is worth keeping across a restart."""
        return remember(self.links, self.made)

    # -- what becomes of links ------------------------------------------------------------------------

    def _add(self, member: Member, restored: Iterable[Endpoint], now: float) -> None:
        link = Link(member, low=self.own < member.key, rng=self.common.rng, now=now, roll=self.common.roll)
        self.links[member.key] = link
        for candidate in configured(member, now):
            link.candidates.offer(candidate)
        for age, endpoint in enumerate(restored):
            link.candidates.offer(Candidate(endpoint, Kind.RESTORED, now - age))

    def _drop(self, key: Key) -> None:
        link = self.links.pop(key)
        self.common.roll.leave(link)
        self.common.timers.clear(key)
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
            self.common.schedule(link, now)
            return
        if link.endpoint:
            link.candidates.offer(Candidate(link.endpoint, Kind.CONFIGURED, now))
        self._pursuit.start(link, now)

    def _roamed(self, link: Link, before: Endpoint | None, now: float) -> None:
        self.common.say(Level.DEBUG, link, f"is at {link.endpoint} now")
        if link.is_lan(before) != link.is_lan(link.endpoint):
            link.rtt = None  # the other path's round trip says nothing of this one
        if link.endpoint and link.state is State.CONNECTED:
            link.candidates.confirm(link.endpoint, now)
            self._out.append(Save())
            if not any(each.on_lan for each in link.candidates):  # else it could roam to and fro for ever
                self._prober.hello(link, now)  # which tells the member where it is seen

    # -- effects --------------------------------------------------------------------------------------

    def _next_look(self) -> float:
        if self._look_asked or self._pursuit.adopting:
            return float("inf")
        least = LOOK_CONNECTING if self._pursuit.busy else LOOK_IDLE
        return self._looked + look_spacing(len(self.links), least)

    def _take(self) -> list[Effect]:
        effects = list(self._out)
        self._out.clear()
        return effects
