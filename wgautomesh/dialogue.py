"""What members say to us, and what that does to their links. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from .candidates import Candidate
from .census import Census
from .common import Common
from .effects import Level, Look, Send
from .gossip import Gossip
from .herald import Herald
from .link import Event, Link, State
from .messages import Answer, Hello, Introduce, Introduction, Kind, Message, Record, Records, Seek, Summary
from .pace import look_spacing
from .probing import Prober
from .pursuit import Pursuit
from .values import Endpoint
from .waiting import Waiting

FRESH = 2.0  # s; an older view of the device is renewed before telling a member where we see it,
FRESH_SEEK = 0.2  # s; and this before telling others: who seeks may have just moved
COMPLAIN_EVERY = 60.0  # s between lines that one member causes at will


class Dialogue:
    def __init__(
        self,
        common: Common,
        gossip: Gossip,
        census: Census,
        herald: Herald,
        prober: Prober,
        pursuit: Pursuit,
    ) -> None:
        self._links, self._out = common.links, common.out
        self._schedule, self._say = common.schedule, common.say
        self._gossip, self._census, self._herald = gossip, census, herald
        self._prober, self._pursuit = prober, pursuit
        self._waiting = Waiting()
        self._looked = float("-inf")

    def receive(self, link: Link, message: Message | None, now: float) -> None:
        """None: its host refused ours. What needs to know where the device sees the sender now waits."""
        age = now - self._looked
        asks = (isinstance(message, Hello) and age > look_spacing(len(self._links), FRESH)) or (
            isinstance(message, Seek) and age > FRESH_SEEK
        )
        if link.is_up and not asks:
            self._handle(link, message, now)
        elif self._waiting.add(link.member.key, message):
            self._out.append(Look())

    def look(self, now: float) -> None:
        """The device was just read: what waited for that is handled."""
        self._looked = now
        for key, message in self._waiting.take():
            link = self._links.get(key)
            if link and (link.is_up or link.handshake):  # else a shot undid the session that it came by
                self._handle(link, message, now)

    def gone(self) -> None:
        """The interface vanished, and with it what messages came by."""
        self._waiting.take()

    def unreadable(self, link: Link, now: float) -> None:
        """A datagram does not open with our gossip secret."""
        text = "speaks with another gossip secret; its datagrams are not believed"
        if not link.other_secret and self._complain(link, now, text):
            link.other_secret = True

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
                    self._prober.answered(link)
                    self._answered(link, now)
                self._seen(link, message.sees, now)
                self._gossip.compare(link, message.digest, now)
            case Records(records):
                self._learn(link, records, now)
            case Summary():
                self._gossip.answer_summary(link, message, now)
            case Seek(keys):
                self._gossip.introduce(link, keys, now)
            case Introduce(introductions):
                self._meet(link, introductions, now)
            case _:
                self._census.receive(link, message, now)
        if reached and link.happened(Event.REACHED, now):
            self._prober.came_up(link, now)

    def _hello(self, link: Link, hello: Hello, now: float) -> None:
        self._out.append(Send(link.member, Answer(hello.number, self._gossip.book.digest, link.endpoint)))
        if link.state is State.SILENT:
            self._prober.hello(link, now)  # it has a session, so it may hear us again
        self._seen(link, hello.sees, now)

    def _seen(self, link: Link, where: Endpoint | None, now: float) -> None:
        """The member tells where it sees us."""
        if self._herald.seen(link.member.key, where, now):
            self._prober.ask_where(now)

    def _meet(self, introducer: Link, introductions: Sequence[Introduction], now: float) -> None:
        self._learn(introducer, [each.record for each in introductions if each.record], now)
        for each in introductions:
            link = self._links.get(each.key)
            if link and link is not introducer:
                link.introduced, link.introduced_at = True, now
                candidate = Candidate(each.at, Kind.OBSERVED, now, introducer.member.key, rtt=each.rtt)
                self._pursuit.offer(link, [candidate], now, wait=each.wait, fresh=True)

    def _answered(self, link: Link, now: float) -> None:
        link.happened(Event.ANSWERED, now)
        if link.is_up:
            if not link.told:
                self._prober.came_up(link, now)
            self._schedule(link, now + self._prober.interval(link))

    def _agent_is_back(self, link: Link, now: float) -> None:
        link.agent, link.agentless_probes = True, 0
        if link.is_up:
            self._complain(link, now, "answers: its agent runs", Level.INFO)
            self._gossip.greet(link, now)

    def _agent_is_down(self, link: Link, now: float) -> None:
        self._prober.without_agent(link, now)
        link.happened(Event.REACHED, now)
        self._answered(link, now)

    def _learn(self, sender: Link, records: Sequence[Record], now: float) -> None:
        for record in self._gossip.receive(sender, records, now):
            link = self._links.get(record.key)
            if link is None:
                continue
            link.nat = record.nat
            link.candidates.withdraw(route.endpoint for route in record.routes if route.kind is Kind.MAPPED)
            source = sender.member.key
            self._pursuit.offer(
                link,
                [Candidate(route.endpoint, route.kind, now - route.age, source) for route in record.routes],
                now,
            )

    def _complain(self, link: Link, now: float, text: str, level: Level = Level.WARNING) -> bool:
        """Say what a member could make us say again and again, once a minute at most; whether it was said."""
        if now - link.complained < COMPLAIN_EVERY:
            return False
        link.complained = now
        self._say(level, link, text)
        return True
