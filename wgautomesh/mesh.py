"""The core's face: events come in, effects go out, `now` is always an argument (s on one steady clock).

Deterministic and without I/O, clock, thread or randomness of its own, so that the agent, the tests and a
simulator all run this very code. Here events are sorted and turned into what happens to links; how a link
without a session is pursued stands in `pursuit.py`, who is told what in `gossip.py`.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from .admission import DEFAULT_ROUTE, Routing, admit
from .candidates import Candidate, refusal
from .effects import Admit, Effect, Level, Look, Save, Say, Send
from .gossip import Gossip
from .link import MISSED_INTERVAL, MISSES_ADOPTED, PROBE_INTERVAL, Event, Link, State
from .messages import Answer, Hello, Introduce, Kind, Message, Nat, Record, Records, Route, Seek, Summary
from .pursuit import Pursuit
from .reflexive import Reflexive
from .values import Device, Endpoint, IPAddress, IPInterface, Key, Member, Peer

FRESH = 2.0  # s; an older view of the device is renewed before telling a member where we see it
LOOK_CONNECTING = 1.0  # s between reads of the device while something is being connected
LOOK_IDLE = 10.0  # s otherwise
MAX_WAITING = 1024  # datagrams that wait for the next look; more in one reading interval is a flood
MAX_LAN_ROUTES = 2  # of each IP version, in our own record


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Our own side of the network: addresses on which others might reach us, and the mesh's own networks."""

    addresses: tuple[IPInterface, ...] = ()
    mesh: tuple[IPInterface, ...] = ()


@dataclass(frozen=True, slots=True)
class Past:
    """What an earlier run left: endpoints of members, best first, and the peers it made on the interface."""

    endpoints: Mapping[Key, Sequence[Endpoint]] = field(default_factory=dict)
    made: frozenset[Key] = frozenset()


class Mesh:
    """All links of one node. Every public method that takes `now` returns the effects it calls for."""

    def __init__(self, own: Key, members: Iterable[Member], *, rng: Random, now: float, past: Past) -> None:
        self.own = own
        self.links: dict[Key, Link] = {}
        self.reflexive = Reflexive()
        self.surroundings = Surroundings()
        self.made = set(past.made)
        self._rng = rng
        self._out: list[Effect] = []
        self.gossip = Gossip(own, self.links, rng, self._out)
        self._pursuit = Pursuit(
            self.links, self.gossip, self._own_public, self._schedule, self._came_up, rng, self._out
        )
        self._device: Device | None = None
        self._routing = Routing(())
        self._looked = float("-inf")
        self._look_asked = False
        self._adopt = True  # the next look is the first of this interface
        self._waiting: list[tuple[Key, Message | None]] = []
        self._timers: list[tuple[float, Key]] = []
        for member in members:
            if member.key != own:
                self._add(member, past.endpoints.get(member.key, ()), now)

    # -- events ---------------------------------------------------------------------------------------

    def device(self, device: Device, now: float) -> list[Effect]:
        """The interface as just read. Effects that make peers come before the first datagram."""
        self._device = device
        self._looked, self._look_asked = now, False
        admitted = self._admit(device, now)
        self._routing = Routing([*device.peers.values(), *admitted])
        for key, link in self.links.items():
            peer = device.peers.get(key)
            if peer:
                before = link.endpoint
                link.observe(peer.endpoint, peer.handshake, peer.rx_bytes, now)
                if link.is_up and peer.endpoint and peer.endpoint != before:
                    self._roamed(link, now)
        if self._adopt:
            self._adopt = False
            self._announce(now)
            for link in self.links.values():
                self._begin(link, now)
        waiting, self._waiting = self._waiting, []
        for key, message in waiting:
            if key in self.links:
                self._handle(self.links[key], message, now)
        self._pursuit.act(device, now)
        return self._take()

    def gone(self, now: float) -> list[Effect]:
        """The interface vanished, and all sessions with it."""
        self._adopt, self._look_asked = True, False
        self._waiting.clear()
        for key, link in self.links.items():
            link.happened(Event.LOST, now)
            link.told = False
            link.observe(link.endpoint, 0, 0, now)
            link.probes.clear()
            link.due = float("inf")
            self.reflexive.forget(key)
            self.gossip.forget(key)
        return self._take()

    def receive(self, ip: IPAddress, message: Message, now: float) -> list[Effect]:
        """An opened message that came through the tunnel from `ip`. Who sent it is WireGuard's word."""
        link = self.links.get(self._routing.owner(ip) or self.own)
        if link is None or link.blocked:
            return []
        link.other_secret = False
        self._handle_or_wait(link, message, now)
        return self._take()

    def refused(self, ip: IPAddress, now: float) -> list[Effect]:
        """A datagram to `ip` was answered by "port unreachable" through the tunnel: the path works."""
        link = self.links.get(self._routing.owner(ip) or self.own)
        if link is not None and not link.blocked:
            self._handle_or_wait(link, None, now)
        return self._take()

    def unreadable(self, ip: IPAddress, now: float) -> list[Effect]:
        """A datagram from `ip` does not open with our gossip secret."""
        link = self.links.get(self._routing.owner(ip) or self.own)
        if link is not None and not link.other_secret:
            link.other_secret = True
            self._say(
                Level.WARNING, link, "speaks with another gossip secret; its datagrams are not believed"
            )
        return self._take()

    def resolved(self, key: Key, endpoints: Iterable[Endpoint], now: float) -> list[Effect]:
        """The addresses of a configured DNS name."""
        if key in self.links:
            self._offer(self.links[key], [Candidate(each, Kind.CONFIGURED, now) for each in endpoints], now)
        return self._take()

    def found_on_lan(self, key: Key, endpoint: Endpoint, now: float) -> list[Effect]:
        """A member proved with its key that it is at this on-link address."""
        if key in self.links:
            self._offer(self.links[key], [Candidate(endpoint, Kind.LAN, now)], now)
        return self._take()

    def network(self, surroundings: Surroundings, now: float) -> list[Effect]:
        """Our own addresses, at start and whenever they may have changed: prove all paths again."""
        before, self.surroundings = self.surroundings, surroundings
        if surroundings != before and not self._adopt:
            self._announce(now)
            if before != Surroundings():
                self._prove_all(now)
        return self._take()

    def woke(self, now: float) -> list[Effect]:
        """We were suspended: no session can be taken for granted."""
        for link in self.links.values():
            link.patience = min(link.patience, MISSES_ADOPTED)
        self._prove_all(now)
        return self._take()

    def tick(self, now: float) -> list[Effect]:
        """Do what is due. To be called at `next_tick`; sooner or later does no harm."""
        while self._timers and self._timers[0][0] <= now:
            due, key = heapq.heappop(self._timers)
            link = self.links.get(key)
            if link is None or link.due != due:
                continue
            link.due = float("inf")
            if link.is_up:
                self._pursuit.probe(link, now)
            else:
                self._pursuit.pursue(link, now)
        if now >= self._next_look():
            self._look_asked = True
            self._out.append(Look())
        return self._take()

    def next_tick(self) -> float:
        while self._timers and self._stale(self._timers[0]):
            heapq.heappop(self._timers)
        return min(self._timers[0][0] if self._timers else float("inf"), self._next_look())

    def memory(self) -> Past:
        """What is worth keeping across a restart."""
        endpoints = {
            key: tuple(each.endpoint for each in link.candidates.worth_keeping())
            for key, link in self.links.items()
        }
        return Past({key: kept for key, kept in endpoints.items() if kept}, frozenset(self.made))

    # -- sorting what comes in ------------------------------------------------------------------------

    def _handle_or_wait(self, link: Link, message: Message | None, now: float) -> None:
        """Some messages need to know where the device sees the sender now: those wait for a look."""
        asks = isinstance(message, (Hello, Seek)) and now - self._looked > FRESH
        if link.is_up and not asks:
            self._handle(link, message, now)
        elif len(self._waiting) < MAX_WAITING:
            self._waiting.append((link.member.key, message))
            self._out.append(Look())

    def _handle(self, link: Link, message: Message | None, now: float) -> None:
        if message is None:
            self._agent_is_down(link, now)
            return
        link.heard = now
        if not link.agent:
            link.agent = True
            if link.is_up:
                self._say(Level.INFO, link, "answers: its agent runs")
                self.gossip.greet(link, now)
        reached = link.state in (State.TRYING, State.NO_CANDIDATE)
        match message:
            case Hello(number, digest, sees):
                self._out.append(Send(link.member, Answer(number, self.gossip.book.digest, link.endpoint)))
                if link.state is State.SILENT:
                    self._pursuit.hello(link, now)  # it hears us again, or it would not have a session
                self._seen(link, sees, now)
            case Answer(number, digest, sees):
                if link.probe_answered(number, now):
                    self._answered(link, now)
                self._seen(link, sees, now)
                self.gossip.compare(link, digest, now)
            case Records(records):
                self._learn(link, records, now)
            case Summary():
                self.gossip.answer_summary(link, message, now)
            case Seek(keys):
                self.gossip.introduce(link, keys, now)
            case Introduce(introductions):
                self._learn(link, [each.record for each in introductions if each.record], now)
                for each in introductions:
                    known = self.links.get(each.key)
                    if known and known is not link:
                        known.introduced = True
                        candidate = Candidate(each.at, Kind.OBSERVED, now, link.member.key, rtt=each.rtt)
                        self._offer(known, [candidate], now, wait=each.wait, fresh=True)
        if reached and link.happened(Event.REACHED, now):
            self._came_up(link, now)

    def _answered(self, link: Link, now: float) -> None:
        link.happened(Event.ANSWERED, now)
        if link.is_up:
            self._schedule(link, now + PROBE_INTERVAL)
            if not link.told:
                self._came_up(link, now)

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
            if self._refuse(candidate.endpoint):
                continue
            is_new = link.candidates.offer(candidate)
            if is_new or (fresh and news is None):
                news = candidate if known else news
                known = known and not is_new
        if news and not link.blocked and not self._adopt:
            self._pursuit.news(link, news, now, wait=wait, known=known)
            self._out.append(Save())

    def _refuse(self, endpoint: Endpoint) -> bool:
        around = self.surroundings
        if refusal(endpoint, around.addresses):
            return True
        if any(endpoint.ip in each.network for each in around.mesh if each.version == endpoint.ip.version):
            return True
        routed = self._routing.owner(endpoint.ip, longer_than=DEFAULT_ROUTE) is not None
        return routed and not any(endpoint.ip in each.network for each in around.addresses)

    # -- what becomes of links ------------------------------------------------------------------------

    def _add(self, member: Member, restored: Iterable[Endpoint], now: float) -> None:
        link = Link(member, low=self.own < member.key, rng=self._rng, now=now)
        self.links[member.key] = link
        if isinstance(member.endpoint, Endpoint):
            link.candidates.offer(Candidate(member.endpoint, Kind.CONFIGURED, now))
        for age, endpoint in enumerate(restored):
            link.candidates.offer(Candidate(endpoint, Kind.RESTORED, now - age))

    def _begin(self, link: Link, now: float) -> None:
        """First look at this member on this interface: go on with its session, or try to reach it."""
        if link.blocked:
            return
        self._pursuit.resolve(link)
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
        took = now - link.down_since
        if link.endpoint:
            link.candidates.confirm(link.endpoint, now)
        link.proved_alive(now)
        link.told, link.complaint = True, ""
        link.attempt.reset()
        link.introduced = False
        link.in_place = []
        link.hands_off_until = None
        how = origin.learned_from if origin else "its own handshake"
        agent = "" if link.agent else "; its agent does not answer"
        text = f"connected at {link.endpoint} after {_duration(took)} (learned from {how}){agent}"
        self._say(Level.INFO, link, text)
        self._out.append(Save())
        self.gossip.greet(link, now)
        self._pursuit.hello(link, now)
        self._schedule(link, now + MISSED_INTERVAL)

    def _roamed(self, link: Link, now: float) -> None:
        self._say(Level.DEBUG, link, f"is at {link.endpoint} now")
        if link.endpoint and link.state is State.CONNECTED:
            link.candidates.confirm(link.endpoint, now)
            self._out.append(Save())

    def _prove_all(self, now: float) -> None:
        for link in self.links.values():
            if link.is_up:
                link.probes.clear()
                link.first_unanswered = None
                self._schedule(link, now)
            elif link.state is State.TRYING:
                self._pursuit.start(link, now)

    def _admit(self, device: Device, now: float) -> list[Peer]:
        """Bring the interface in line with the members; returns the peers this makes."""
        plan = admit(device, [link.member for link in self.links.values()], self.made)
        self._out.extend(plan.effects)
        if plan.effects:
            self._out.append(Look())
        if plan.made - self.made or plan.gone:
            self.made = (self.made | plan.made) - plan.gone
            self._out.append(Save())
        for key, link in self.links.items():
            why = plan.blocked.get(key)
            if why and why != link.blocked:
                self._say(Level.ERROR, link, f"is left out: {why}")
            elif link.blocked and not why:
                self._schedule(link, now)
            link.blocked = why
        return [effect.peer for effect in plan.effects if isinstance(effect, Admit)]

    # -- our own side ---------------------------------------------------------------------------------

    def _seen(self, link: Link, sees: Endpoint | None, now: float) -> None:
        if sees is not None and self.reflexive.seen(link.member.key, sees, now):
            self._announce(now)

    def _announce(self, now: float) -> None:
        port = self._device.listen_port if self._device else 0
        own = self._own_addresses()
        routes = [Route(Kind.OBSERVED, endpoint) for endpoint in self.reflexive.public(own)]
        for version in (4, 6):
            lan = [each.ip for each in self.surroundings.addresses if each.version == version]
            routes += [
                Route(Kind.LAN, Endpoint(ip, port)) for ip in lan[:MAX_LAN_ROUTES] if not ip.is_link_local
            ]
        nat = self.reflexive.nat(own, port)
        if port and self.gossip.announce(nat, routes, now) and nat is not Nat.UNKNOWN:
            self._out.append(
                Say(Level.DEBUG, f"others see us at {', '.join(str(r.endpoint) for r in routes)}")
            )

    def _own_addresses(self) -> Collection[IPAddress]:
        return {each.ip for each in self.surroundings.addresses}

    def _own_public(self) -> Collection[IPAddress]:
        return {endpoint.ip for endpoint in self.reflexive.public(self._own_addresses())}

    # -- timers and effects ---------------------------------------------------------------------------

    def _schedule(self, link: Link, due: float) -> None:
        link.due = due
        heapq.heappush(self._timers, (due, link.member.key))

    def _stale(self, timer: tuple[float, Key]) -> bool:
        link = self.links.get(timer[1])
        return link is None or link.due != timer[0]

    def _next_look(self) -> float:
        if self._look_asked or self._adopt:
            return float("inf")
        return self._looked + (LOOK_CONNECTING if self._pursuit.busy else LOOK_IDLE)

    def _say(self, level: Level, link: Link, text: str) -> None:
        self._out.append(Say(level, f"{link.member} {text}", link.member.key))

    def _take(self) -> list[Effect]:
        effects = list(self._out)
        self._out.clear()
        return effects


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"
