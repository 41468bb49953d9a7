"""The core's face: events come in, effects go out, `now` is always an argument (s on one steady clock).

Deterministic and without I/O, clock, thread or randomness of its own, so that the agent, the tests and a
simulator all run this very code. Here events are sorted and turned into what happens to links; how a link
without a session is pursued stands in `pursuit.py`, who is told what in `gossip.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from .candidates import Candidate, configured
from .census import Census
from .effects import Effect, Level, Look, Save, Say, Send
from .gate import Gate
from .gossip import Gossip
from .herald import Herald
from .link import MISSED_INTERVAL, MISSES_ADOPTED, Event, Link, Roll, State
from .messages import Answer, Hello, Introduce, Introduction, Kind, Message, Record, Records, Seek, Summary
from .move import Mover
from .pace import look_spacing
from .past import Past, remember
from .pursuit import LAN_HIGH_WAITS, Pursuit
from .standpoint import Standpoint, Surroundings
from .timers import Timers
from .values import Device, Endpoint, IPAddress, Key, Member
from .waiting import Waiting

FRESH = 2.0  # s; an older view of the device is renewed before telling a member where we see it,
FRESH_SEEK = 0.2  # s; and this before telling others: who seeks may have just moved
LOOK_CONNECTING = 1.0  # s between reads of the device while something is being connected
LOOK_IDLE = 10.0  # s otherwise
COMPLAIN_EVERY = 60.0  # s between lines that one member causes at will


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
        self._pursuit = Pursuit(
            self.links,
            self.roll,
            self.gossip,
            self.standpoint,
            self.refuses,
            self._schedule,
            self._came_up,
            rng,
            self._out,
        )
        self._mover = Mover(self.links, self._pursuit, self.standpoint, self._schedule, self._out)
        self._looked = float("-inf")
        self._look_asked = False
        self._adopt = True  # the next look is the first of this interface
        self._joined: list[Key] = []  # members that came while it ran: they begin with the next look
        self._waiting = Waiting()
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
                if link.state is State.NO_CANDIDATE and shaken != link.handshake and not self._adopt:
                    self._pursuit.hello(link, now)  # the member made a session: answer it
        if self._adopt:
            self._adopt = False
            self._herald.announce(now)
            self._joined = list(self.links)
        for key in self._joined:
            self._begin(self.links[key], now)
        self._joined.clear()
        self._mover.look(device, now)
        for key, message in self._waiting.take():
            waited = self.links.get(key)
            has_session = waited and (waited.is_up or waited.handshake)  # else a shot undid that it came by
            if waited and has_session:
                self._handle(waited, message, now)
        self._pursuit.act(device, now)
        return self._take()

    def gone(self, now: float) -> list[Effect]:
        """The interface vanished, and all sessions with it."""
        self._adopt, self._look_asked = True, False
        self._gate.members_changed()
        self._waiting.take()
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
        self._handle_or_wait(link, message, now)
        return self._take()

    def refused(self, ip: IPAddress, now: float) -> list[Effect]:
        """A datagram to `ip` was answered by "port unreachable" through the tunnel: the path works."""
        link = self.links.get(self._gate.routing.owner(ip) or self.own)
        if link is not None and not link.blocked:
            self._handle_or_wait(link, None, now)
        return self._take()

    def unreadable(self, ip: IPAddress, now: float) -> list[Effect]:
        """A datagram from `ip` does not open with our gossip secret."""
        link = self.links.get(self._gate.routing.owner(ip) or self.own)
        if link is not None and not link.other_secret:
            link.other_secret = True
            self._complain(link, now, "speaks with another gossip secret; its datagrams are not believed")
        return self._take()

    def resolved(self, key: Key, endpoints: Iterable[Endpoint], now: float) -> list[Effect]:
        """The addresses of a configured DNS name."""
        if key in self.links:
            self._offer(self.links[key], [Candidate(each, Kind.CONFIGURED, now) for each in endpoints], now)
        return self._take()

    def found_on_lan(self, key: Key, endpoint: Endpoint, now: float) -> list[Effect]:
        """A member proved with its key that it is at this on-link address."""
        link = self.links.get(key)
        if link and link.is_up and not self.refuses(endpoint):
            self._mover.found(link, Candidate(endpoint, Kind.LAN, now), now)
        elif link:
            wait = 0.0 if link.low else LAN_HIGH_WAITS
            self._offer(link, [Candidate(endpoint, Kind.LAN, now)], now, wait=wait, fresh=True)
        return self._take()

    def network(self, surroundings: Surroundings, now: float) -> list[Effect]:
        """Our own addresses, at start and whenever they may have changed: prove all paths again."""
        before, self.standpoint.surroundings = self.standpoint.surroundings, surroundings
        if surroundings != before and not self._adopt:
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
                self._offer(link, configured(member, now), now)
        self._gate.members_changed()
        self._out.append(Look())  # admits and removes peers
        return self._take()

    def tick(self, now: float) -> list[Effect]:
        """Do what is due. To be called at `next_tick`; sooner or later does no harm."""
        for key in self._timers.ring(now):
            link = self.links[key]
            if link.is_up:
                self._pursuit.probe(link, now)
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

    # -- sorting what comes in ------------------------------------------------------------------------

    def _handle_or_wait(self, link: Link, message: Message | None, now: float) -> None:
        """Some messages need to know where the device sees the sender now: those wait for a look."""
        age = now - self._looked
        asks = (isinstance(message, Hello) and age > look_spacing(len(self.links), FRESH)) or (
            isinstance(message, Seek) and age > FRESH_SEEK
        )
        if link.is_up and not asks:
            self._handle(link, message, now)
        elif self._waiting.add(link.member.key, message):
            self._out.append(Look())

    def _handle(self, link: Link, message: Message | None, now: float) -> None:
        if message is None:
            self._agent_is_down(link, now)
            return
        link.heard = now
        if not link.agent:
            self._agent_is_back(link, now)
        reached = link.state in (State.TRYING, State.NO_CANDIDATE)
        match message:
            case Hello():
                self._hello(link, message, now)
            case Answer():
                if link.probe_answered(message.number, now):
                    self._pursuit.answered(link)
                    self._answered(link, now)
                self._seen(link, message.sees, now)
                self.gossip.compare(link, message.digest, now)
            case Records(records):
                self._learn(link, records, now)
            case Summary():
                self.gossip.answer_summary(link, message, now)
            case Seek(keys):
                self.gossip.introduce(link, keys, now)
            case Introduce(introductions):
                self._meet(link, introductions, now)
            case _:
                self.census.receive(link, message, now)
        if reached and link.happened(Event.REACHED, now):
            self._came_up(link, now)

    def _hello(self, link: Link, hello: Hello, now: float) -> None:
        self._out.append(Send(link.member, Answer(hello.number, self.gossip.book.digest, link.endpoint)))
        if link.state is State.SILENT:
            self._pursuit.hello(link, now)  # it has a session, so it may hear us again
        self._seen(link, hello.sees, now)

    def _seen(self, link: Link, where: Endpoint | None, now: float) -> None:
        """The member tells where it sees us."""
        if self._herald.seen(link.member.key, where, now):
            self._pursuit.ask_where(now)

    def _meet(self, introducer: Link, introductions: Sequence[Introduction], now: float) -> None:
        self._learn(introducer, [each.record for each in introductions if each.record], now)
        for each in introductions:
            link = self.links.get(each.key)
            if link and link is not introducer:
                link.introduced, link.introduced_at = True, now
                candidate = Candidate(each.at, Kind.OBSERVED, now, introducer.member.key, rtt=each.rtt)
                self._offer(link, [candidate], now, wait=each.wait, fresh=True)

    def _answered(self, link: Link, now: float) -> None:
        link.happened(Event.ANSWERED, now)
        if link.is_up:
            if not link.told:
                self._came_up(link, now)
            pursuit = self._pursuit
            interval = pursuit.interval(link) if link.agent else pursuit.agentless_interval(link)
            self._schedule(link, now + interval)

    def _agent_is_back(self, link: Link, now: float) -> None:
        link.agent, link.agentless_probes = True, 0
        if link.is_up:
            self._complain(link, now, "answers: its agent runs", Level.INFO)
            self.gossip.greet(link, now)

    def _agent_is_down(self, link: Link, now: float) -> None:
        self._pursuit.without_agent(link, now)
        link.happened(Event.REACHED, now)
        self._answered(link, now)

    def _learn(self, sender: Link, records: Sequence[Record], now: float) -> None:
        for record in self.gossip.receive(sender, records, now):
            link = self.links.get(record.key)
            if link is None:
                continue
            link.nat = record.nat
            link.candidates.withdraw(route.endpoint for route in record.routes if route.kind is Kind.MAPPED)
            source = sender.member.key
            self._offer(
                link,
                [Candidate(route.endpoint, route.kind, now - route.age, source) for route in record.routes],
                now,
            )

    def _offer(
        self,
        link: Link,
        candidates: Iterable[Candidate],
        now: float,
        *,
        wait: float = 0.0,
        fresh: bool = False,
    ) -> None:
        """Take in hints; `fresh` ones are acted on even if known: the other side is told now, too."""
        news, known = None, True
        for candidate in candidates:
            if self.refuses(candidate.endpoint):
                continue
            is_new = link.candidates.offer(candidate)
            if is_new or (fresh and news is None):
                news = candidate if known else news
                known = known and not is_new
        if news and not link.blocked and not self._adopt:
            self._pursuit.news(link, news, now, wait=wait, known=known)
            self._out.append(Save())

    def refuses(self, endpoint: Endpoint) -> bool:
        return self.standpoint.refuses(endpoint, self._gate.routing)

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
        link.attempt.succeeded()
        link.introduced = False
        link.in_place = ()
        link.hands_off_until = None
        link.hands_off_before = False
        how = origin.learned_from if origin else "its own handshake"
        if origin and origin.kind is Kind.CONFIGURED and origin.source is None:
            how = link.member.origin
        agent = "" if link.agent else "; its agent does not answer"
        text = f"connected at {link.endpoint} after {link.downtime(now)} (learned from {how}){agent}"
        self._say(Level.INFO, link, text)
        self._out.append(Save())
        self.gossip.greet(link, now)
        self._pursuit.hello(link, now)
        self._schedule(link, now + MISSED_INTERVAL)

    def _roamed(self, link: Link, before: Endpoint | None, now: float) -> None:
        self._say(Level.DEBUG, link, f"is at {link.endpoint} now")
        if link.is_lan(before) != link.is_lan(link.endpoint):
            link.rtt = None  # the other path's round trip says nothing of this one
        if link.endpoint and link.state is State.CONNECTED:
            link.candidates.confirm(link.endpoint, now)
            self._out.append(Save())
            if not any(each.on_lan for each in link.candidates):  # else it could roam to and fro for ever
                self._pursuit.hello(link, now)  # which tells the member where it is seen

    # -- timers and effects ---------------------------------------------------------------------------

    def _schedule(self, link: Link, due: float) -> None:
        self._timers.set(link.member.key, due)

    def _next_look(self) -> float:
        if self._look_asked or self._adopt:
            return float("inf")
        least = LOOK_CONNECTING if self._pursuit.busy else LOOK_IDLE
        return self._looked + look_spacing(len(self.links), least)

    def _say(self, level: Level, link: Link, text: str) -> None:
        self._out.append(Say(level, f"{link.member} {text}", link.member.key))

    def _complain(self, link: Link, now: float, text: str, level: Level = Level.WARNING) -> None:
        """Say what a member could make us say again and again; once a minute is enough."""
        if now - link.complained >= COMPLAIN_EVERY:
            link.complained = now
            self._say(level, link, text)

    def _take(self) -> list[Effect]:
        effects = list(self._out)
        self._out.clear()
        return effects
