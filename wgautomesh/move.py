"""Moves a live link to a LAN address that the member proved, and proves links when our own network changes.

Pure. Packets that are still under way on the old path roam a peer back to it, so one change is not enough: it
is repeated until the old path must be empty. The session lives on, except where nothing else helps: then one
side alone, that with the lower key, makes the peer anew. Measurements: docs/protocol.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from .budget import Budget
from .candidates import Candidate, lacks_scope
from .choice import Choice
from .common import Common
from .effects import Change, Level, Look, Save
from .link import Link, State
from .probing import Prober
from .pursuit import Pursuit
from .values import Device, Endpoint, Key

ASSERT_EVERY = 0.005  # s between two changes to the new path
ASSERT_HELLO = 0.02  # s between Hellos meanwhile: answers on the old path roam the other side, too
ASSERT_RTTS = 1.5  # round trips of the old path for which that goes on
ASSERT_LEAST = 0.03  # s; the two sides begin a moment apart
ASSERT_MOST = 1.0  # s; a wrong estimate must not keep us busy
RTT_UNKNOWN = 0.3  # s
JUDGE_EVERY = 0.1  # s between looks at what became of it
JUDGE_FOR = 0.5  # s without an answer on the new path, until it is left again
WATCH = 1.5  # s after which it has settled: some of the old path's packets call for others, again and again
WATCH_EVERY = 0.5  # s between looks in that time
WATCH_ASSERTS = 0.01  # s between changes in that time
TRIES = 3  # each with twice the time of the one before; the last may cost the session
READD_EVERY = 30.0  # s between two such sessions given up for one member
PROVE_SPACING, PROVE_BURST = (
    3.0,
    16,
)  # s between proofs of all paths, on average, and at once: a neighbour who
# sends router advertisements changes our addresses as often as he likes, and each proof begins rounds anew
PAUSE = (60.0, 3600.0)  # s until the next try after one that failed, doubled each time: first, and most


@dataclass(slots=True)
class _Move:
    target: Candidate
    origin: Endpoint  # where we came from
    began: float
    until: float  # when the old path must be empty
    old_rtt: float | None
    tries: int = 1
    told: bool = False  # the operator
    hello: float = 0.0  # when the next is due while the endpoint is set again and again
    has_asserted: bool = False
    look: float = 0.0  # when the device is worth the next look
    settled: float | None = None  # since when it is where it should be


class Mover:
    """All moves that are under way. Times are in s."""

    def __init__(self, common: Common, choice: Choice, prober: Prober, pursuit: Pursuit) -> None:
        self.due = float("inf")
        self._links, self._standpoint = common.links, common.standpoint
        self._out, self._schedule, self._say = common.out, common.schedule, common.say
        self._choice, self._prober, self._pursuit = choice, prober, pursuit
        self._moves: dict[Key, _Move] = {}
        self._readded: dict[Key, float] = {}
        self._paused: dict[Key, tuple[float, float]] = {}  # until when, and how long that was
        self._left: dict[Key, float] = {}  # members whose LAN we left, and when
        self._proved: dict[Key, Candidate] = {}  # where members are that should be there already
        self._proofs = Budget(PROVE_SPACING, PROVE_BURST)
        self._proof_due = float("inf")
        self._renew = False  # wireguard-go keeps sending from an address that is gone

    def found(self, link: Link, candidate: Candidate, now: float) -> None:
        """A member whose link is up proved that it is at this on-link address."""
        link.candidates.offer(candidate)
        key, move = link.member.key, self._moves.get(link.member.key)
        here = move.target if move else link.candidates.get(link.endpoint) if link.endpoint else None
        if here and here.on_lan and not move:
            self._proved[key] = candidate  # the last look may be old: it may have left since
            self._out.append(Look())
        if link.endpoint is None or (here and here.on_lan and here.preference <= candidate.preference):
            return
        if now < self._paused.get(key, (0.0, 0.0))[0]:
            return
        sample = link.sample if link.home == link.endpoint else None  # else it is another path's
        origin, rtt = (move.origin, move.old_rtt) if move else (link.endpoint, link.rtt or sample)
        self._begin(link, candidate, origin, rtt, now)

    def network(self, now: float) -> None:
        """Our own addresses changed: leave LANs that we are not on any more, and prove all paths again."""
        for link in self._links.values():
            gone = [each for each in link.candidates if each.on_lan and not self._is_near(each)]
            leaves = link.is_up and any(each.endpoint in (link.home, link.endpoint) for each in gone)
            for each in gone:
                link.candidates.forget(each.endpoint)
            others = self._choice.order(link) if leaves else ()
            if leaves:
                self._paused.pop(link.member.key, None)
                self._moves.pop(link.member.key, None)
                self._left[link.member.key] = now
            if others:
                link.home = others[0].endpoint
                self._out.append(Change(link.member.key, endpoint=link.home))
        for key, since in list(self._left.items()):
            left = self._links.get(key)
            if left is None or left.answered > since:
                del self._left[key]
            elif self._standpoint.surroundings.addresses:  # somewhere else by now
                self._pursuit.ask(left, now)
        if self._standpoint.surroundings.addresses:  # else the card is between two networks
            self._prove_if_allowed(now)

    def _prove_if_allowed(self, now: float) -> None:
        if self._proofs.allows(now):
            self._proof_due = float("inf")
            self.prove_all(now)
        else:
            self._proof_due = self._proofs.due(now)
            self.due = min(self.due, self._proof_due)

    def prove_all(self, now: float) -> None:
        """No path can be taken for granted."""
        for link in self._links.values():
            if link.is_up:
                link.forget_probes()
                self._renew = True
                self._prober.prove(link, now)
            elif link.state is State.TRYING:
                self._pursuit.start(link, now)
        self._out.append(Look())

    def tick(self, now: float) -> None:
        """Set the new endpoint again while old packets may come; after that, look what became of it."""
        if now >= self._proof_due:
            self._prove_if_allowed(now)
        for key, move in list(self._moves.items()):
            link = self._links.get(key)
            if link is None or not link.is_up:
                del self._moves[key]
            elif now < move.until:
                self._out.append(Change(key, endpoint=move.target.endpoint))
                if now >= move.hello:
                    move.hello = now + ASSERT_HELLO
                    self._prober.hello(link, now)
            elif not move.has_asserted:
                move.has_asserted = True
                self._go(link, move.target.endpoint, now)
            elif now >= move.look:
                move.look = now + (WATCH_EVERY if move.settled else JUDGE_EVERY)
                self._out.append(Look())
            elif move.settled:
                self._out.append(Change(key, endpoint=move.target.endpoint))
        pauses = [
            ASSERT_EVERY if now < move.until else WATCH_ASSERTS if move.settled else JUDGE_EVERY
            for move in self._moves.values()
        ]
        self.due = min(now + min(pauses, default=float("inf")), self._proof_due)

    def heard(self, link: Link, now: float) -> None:
        """A datagram of the member came, maybe on the old path: what we answer should not take it, too."""
        move = self._moves.get(link.member.key)
        if move and (now < move.until or move.settled):
            self._out.append(Change(link.member.key, endpoint=move.target.endpoint))

    def look(self, device: Device, now: float) -> None:
        """The device was just read."""
        if self._renew:
            self._renew = False
            for key, link in self._links.items():
                if link.is_up and link.endpoint and not lacks_scope(link.endpoint):
                    self._out.append(Change(key, endpoint=link.endpoint))
                    link.first_unanswered = None  # what left from the old address is no miss
                    self._prober.prove(link, now)
        proved, self._proved = self._proved, {}
        for key, candidate in proved.items():
            strayed = self._links.get(key)
            if strayed and strayed.is_up and not strayed.is_lan(strayed.endpoint):
                self.found(strayed, candidate, now)
        for key, move in list(self._moves.items()):
            moving = self._links.get(key)
            if moving and moving.is_up and now >= move.until:
                self._judge(moving, move, device, now)

    def _begin(
        self,
        link: Link,
        target: Candidate,
        origin: Endpoint,
        rtt: float | None,
        now: float,
        tries: int = 1,
    ) -> None:
        span = min(max(ASSERT_LEAST, ASSERT_RTTS * (rtt or RTT_UNKNOWN)) * 2 ** (tries - 1), ASSERT_MOST)
        before = self._moves.get(link.member.key)
        told = before is not None and before.told
        self._moves[link.member.key] = _Move(target, origin, now, now + span, rtt, tries, told)
        self._go(link, target.endpoint, now)
        self.due = now

    def _judge(self, link: Link, move: _Move, device: Device, now: float) -> None:
        key = link.member.key
        known = link.candidates.get(link.endpoint) if link.endpoint else None
        arrived = known is not None and known.on_lan
        answered = link.answered > move.began
        if move.settled and arrived:
            if now > move.settled + WATCH:
                del self._moves[key]
        elif arrived and answered:
            self._settle(link, move, now)
        elif arrived and now > move.until + JUDGE_FOR:
            self._give_up(link, move, now)
        elif arrived:
            self._prober.hello(link, now)
        elif answered and self._may_readd(link, move, now):
            self._pursuit.readd(link, device.peers.get(key), move.target.endpoint)
            self._begin(link, move.target, move.origin, move.old_rtt, now, TRIES)
        elif move.tries < TRIES:
            self._begin(link, move.target, move.origin, move.old_rtt, now, move.tries + 1)
        else:
            del self._moves[key]  # it stays where it was, and that works
            link.home, link.rtt = link.endpoint, move.old_rtt

    def _settle(self, link: Link, move: _Move, now: float) -> None:
        move.settled, move.look = now, now + WATCH_EVERY
        self._paused.pop(link.member.key, None)
        link.home = link.endpoint
        link.rtt, link.strayed, link.hint = None, False, None
        link.candidates.confirm(link.endpoint or move.target.endpoint, now)
        if not move.told:
            move.told = True
            self._say(Level.INFO, link, f"moved to the LAN, {link.endpoint}, from {move.origin}")
        self._out.append(Save())
        self._prober.hello(link, now)
        self._schedule(link, now + JUDGE_EVERY)

    def _give_up(self, link: Link, move: _Move, now: float) -> None:
        key = link.member.key
        del self._moves[key]
        if move.told:  # it did answer there; then it left
            self._go(link, move.origin, now)
            return
        pause = min(2 * self._paused.get(key, (0.0, PAUSE[0] / 2))[1], PAUSE[1])
        self._paused[key] = (now + pause, pause)
        self._say(
            Level.INFO, link, f"is on the LAN, but its WireGuard does not answer there: back to {move.origin}"
        )
        self._go(link, move.origin, now)

    def _go(self, link: Link, endpoint: Endpoint, now: float) -> None:
        """In place; the probe that follows at once shows the other side where we are now."""
        self._out.append(Change(link.member.key, endpoint=endpoint))
        link.endpoint = endpoint
        link.probes = ()
        self._prober.hello(link, now)
        self._schedule(link, now + JUDGE_FOR)

    def _may_readd(self, link: Link, move: _Move, now: float) -> bool:
        """The new path works (an answer came too fast for the old one), yet we are always roamed back."""
        last = self._readded.get(link.member.key, float("-inf"))
        if not link.low or move.tries < TRIES or now - last < READD_EVERY:
            return False
        if move.old_rtt is None or link.sample > move.old_rtt / 2:
            return False
        self._readded[link.member.key] = now
        return True

    def _is_near(self, candidate: Candidate) -> bool:
        return self._standpoint.is_on_link(candidate.endpoint.ip)
