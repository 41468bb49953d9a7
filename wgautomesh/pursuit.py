"""How members that have no session with us are reached: rounds of shots at what is known of them.

Pure. The one rule that everything here serves: a session that lives is never touched. So every shot looks
at the device first, a doubted link is only ever changed in place, and the peer is removed and made anew
only when nothing else is left (that alone lets WireGuard start a new handshake within 5 s of the last).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .admission import KEEPALIVE
from .attempt import LOW_FIRST, QUIET_ROUNDS, REPEAT
from .book import are_kept_apart, has_opened_port, seems_to_change_ports
from .budget import Budget
from .candidates import MAX_CANDIDATES, Candidate
from .choice import Choice
from .common import Common
from .effects import Change, Level, Look, Readd, Resolve, Save
from .gossip import ASKED, Gossip
from .link import NEVER, Event, Link, State
from .messages import Kind, Nat
from .pace import AT_ONCE, ROUND_RATE, SMALL, TURN_WITHIN, VAIN_RATE
from .probing import Prober
from .reasons import circumstances, reason
from .restraint import Restraint
from .values import Device, Endpoint, HostPort, Key, Peer

RESOLVE_EVERY = 5.0  # s between two look-ups of one name, whoever makes us try
IN_PLACE_TIME = 6.0  # s for all endpoints in place; more, and lies could keep coming
IN_PLACE_TURN = 0.5  # s an endpoint gets without touching the session
HIGH_WAITS = 1.0  # s by which the higher key gives the lower one precedence after a silence
LAN_HIGH_WAITS = 0.2  # s; neighbours find each other in one moment, and there is no NAT that both must open
HANDS_OFF = 1.5  # s a finished handshake is left alone though no datagram came: a shot may have undone it
HANDS_OFF_LONG = 12.0  # s the second time, long enough for WireGuard itself to prove that no agent is there
HANDS_OFF_HELLO = 0.5  # s between Hellos in that time
SHOTS_AT_ONCE = 32  # after one look; each holds the agent up for half a millisecond on a userspace WireGuard
AGENTLESS_AFTER = 3.0  # s of unanswered Hellos before we say that no agent is there


class Pursuit:
    def __init__(self, common: Common, gossip: Gossip, choice: Choice, prober: Prober) -> None:
        self.adopting = True  # until the first look at this interface, which may have sessions already
        self._links, self._roll, self._standpoint = common.links, common.roll, common.standpoint
        self._rng, self._out, self._schedule, self._say = common.rng, common.out, common.schedule, common.say
        self._gossip, self._choice, self._prober = gossip, choice, prober
        self._cleared: set[Key] = set()  # links whose peer is to be made anew without an endpoint
        self._restraint = Restraint()
        self._shooting: dict[Key, None] = {}  # links with a round of shots, and some whose round has ended
        self._rounds = Budget(1 / ROUND_RATE, AT_ONCE)
        self._vain_rounds = Budget(1 / VAIN_RATE, 1)
        self._vain_answers = Budget(1 / VAIN_RATE, AT_ONCE)  # to introductions that others asked for
        self._vain: list[Link] = []  # links whose round has just ended
        self._aimed: dict[Key, None] = {}  # links whose shot waits for a look at the device, in order

    @property
    def busy(self) -> bool:
        """Whether some link is between up and resting, so that the device is worth a look each second."""
        while self._shooting:
            link = self._links.get(next(iter(self._shooting)))
            if link and link.state is State.TRYING and link.attempt.target:
                return True
            del self._shooting[next(iter(self._shooting))]
        return self._roll.count(State.DOUBTED, State.SILENT) > 0

    def resolve(self, link: Link, now: float) -> None:
        names = [each for each in link.member.endpoints if isinstance(each, HostPort)]
        if names and now - link.resolved >= RESOLVE_EVERY:
            link.resolved = now
            self._out.extend(Resolve(link.member.key, each.host, each.port) for each in names)

    def offer(
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
            if self._choice.refuses(candidate.endpoint):
                continue
            is_new = link.candidates.offer(candidate)
            if is_new or (fresh and news is None):
                news = candidate if known else news
                known = known and not is_new
        if news and not link.blocked and not self.adopting:
            self.news(link, news, now, wait=wait, known=known)
            self._out.append(Save())

    def news(self, link: Link, candidate: Candidate, now: float, *, wait: float, known: bool) -> None:
        """A hint came in. `known`: the endpoint is not new, but the other side is told to shoot now."""
        if link.is_up:
            if candidate.endpoint != link.endpoint:
                self._prober.doubt(link, candidate, now)
            return
        if link.state is State.SILENT:
            rest = (each for each in link.in_place if each.endpoint != candidate.endpoint)
            link.in_place = (candidate, *rest)[:MAX_CANDIDATES]  # each has its turn when the last one is over
            return
        attempt = link.attempt
        if link.hands_off_until is None and not (known and attempt.is_quiet(now)):
            if candidate.kind is Kind.OBSERVED and self._is_vain(link):
                if attempt.target or not self._vain_answers.allows(now):
                    return
            elif not known:
                attempt.reset()
            order = self._choice.order(link)
            trying = link.state is State.TRYING and attempt.target is not None
            again = not known and attempt.is_trying(candidate, now)  # shots so far came too early
            if trying and order and attempt.is_trying(order[0], now) and not again:
                attempt.queue(order[1:])
            elif trying and not attempt.may_restart(candidate.source):
                attempt.append(candidate)
            else:
                self.start(link, now, wait)

    def ask(self, link: Link, now: float) -> None:
        """Ask others where the member is."""
        self._gossip.seek(link.member.key, now)

    def start(self, link: Link, now: float, wait: float = 0.0) -> None:
        """Begin a round of shots, and ask others, who may know better."""
        self.resolve(link, now)
        self._gossip.seek(link.member.key, now, asked=1 if self._is_vain(link) else ASKED)
        order = self._choice.order(link)
        if order:
            if self._only_ours_is_open(link):  # ours would but undo their handshake
                wait = max(wait, REPEAT + order[0].rtt)
            link.happened(Event.CANDIDATE, now)
            self._shooting[link.member.key] = None
            link.attempt.begin_round(order, now, wait)
        else:
            link.happened(Event.NOTHING_TO_TRY, now)
            link.attempt.rest(now)
        self._schedule(link, link.attempt.next_shot)

    def pursue(self, link: Link, now: float) -> None:
        """A link that is not up wants to act."""
        if link.blocked:
            return
        if link.state is State.SILENT:
            self._try_in_place(link, now)
        elif link.state is State.NO_CANDIDATE:
            self.start(link, now)
        elif link.attempt.target is None:
            self._start_in_turn(link, now)
        else:
            self._aimed[link.member.key] = None
            if not self._is_vain(link):  # else the next look is early enough
                self._out.append(Look())

    def _start_in_turn(self, link: Link, now: float) -> None:
        """A pause is over. Where very many pause, rounds begin one by one."""
        rounds = self._vain_rounds if self._is_vain(link) else self._rounds
        if len(self._links) <= SMALL or rounds.allows(now):
            self.start(link, now)
        else:
            self._schedule(link, now + self._rng.uniform(0.0, TURN_WITHIN))

    def act(self, device: Device, now: float) -> None:
        """The device was just read: the moment for all shots that are due."""
        cleared, self._cleared = self._cleared, set()
        for key in cleared:
            link = self._links.get(key)
            if link and not link.is_up and not link.blocked:
                self.readd(link, device.peers.get(key), None)
        for key in list(self._aimed)[:SHOTS_AT_ONCE]:
            del self._aimed[key]
            link = self._links.get(key)
            if link and link.state is State.TRYING and not link.blocked:
                self._shoot(link, device.peers.get(key), now)
        self._complain(now)
        if self._aimed:
            self._out.append(Look())

    def _shoot(self, link: Link, peer: Peer | None, now: float) -> None:
        attempt = link.attempt
        if link.handshake and link.handshake_changed > link.since and self._keeps_hands_off(link, now):
            return
        if attempt.turn_is_over(now) and not attempt.next_candidate(now):
            self._end_round(link, peer, now)
        elif attempt.next_shot > now + 0.001:
            pass  # the next candidate's turn, but too soon after the last shot
        elif attempt.yields(link.rx_bytes, only_they_get_through=self._only_ours_is_open(link)):
            attempt.skip(now, link.rx_bytes)
            self._prober.hello(link, now)
        elif attempt.target and not self._restraint.allows(attempt.target, now):
            attempt.wait(now)
        elif attempt.target:
            self.readd(link, peer, attempt.target.endpoint)
            attempt.shot(now, rx_bytes=0)
            self._prober.hello(link, now)
        self._schedule(link, attempt.next_shot)

    def _keeps_hands_off(self, link: Link, now: float) -> bool:
        """A handshake got through: only Hellos from now on. False when that led nowhere for too long."""
        if link.hands_off_until is None:
            patience = HANDS_OFF_LONG if link.hands_off_before else HANDS_OFF
            shot = link.attempt.last_shot  # with a Hello, which waited for the handshake only
            link.hands_off_until = max(now + HANDS_OFF_HELLO, min(now, shot) + patience)
            link.hands_off_before = True
            link.forget_probes()
        asked = link.first_unanswered or now
        if now - asked > AGENTLESS_AFTER and link.answers_without_agent(now):
            self._prober.without_agent(link, now)
            if link.happened(Event.REACHED, now):
                self._prober.came_up(link, now)
            return True
        if now >= link.hands_off_until:
            link.hands_off_until = None
            link.handshake_changed = NEVER
            self._shoot_there_again(link, now)
            return False
        self._prober.hello(link, now)
        self._schedule(link, now + HANDS_OFF_HELLO)
        return True

    def _shoot_there_again(self, link: Link, now: float) -> None:
        """A handshake got through both ways, and the other side's shot undid it: no path is better."""
        here = link.candidates.get(link.endpoint) if link.endpoint else None
        if here:
            others = [each for each in self._choice.order(link) if each.endpoint != here.endpoint]
            link.attempt.begin_round([here, *others], now, wait=0.0 if link.low else LOW_FIRST)

    def _end_round(self, link: Link, peer: Peer | None, now: float) -> None:
        attempt = link.attempt
        record = self._gossip.book.get(link.member.key)
        natted = record is None or (record.nat is not Nat.OPEN and not has_opened_port(record))
        if (attempt.rounds + 1) % QUIET_ROUNDS == 0 and link.introduced and natted:
            self.readd(link, peer, None)
            attempt.be_quiet(now)
        else:
            attempt.rest(now)
        self._vain.append(link)

    def _complain(self, now: float) -> None:
        """Say why those are not reached whose round has ended, if it is not what was said last."""
        if not self._vain:
            return
        around = circumstances(self._links, self._gossip, self._standpoint, now)
        vain, self._vain = self._vain, []
        for link in vain:
            why = reason(link, around)
            if why != link.complaint:
                link.complaint = why
                self._say(Level.WARNING, link, f"not reached: {why}")

    def fell_silent(self, link: Link, now: float) -> None:
        """Nobody answers any more: try in place what else is known, and ask who knows better."""
        order = self._choice.order(link)
        link.in_place = tuple(sorted(order, key=lambda each: each.endpoint == link.endpoint))
        self._gossip.forget(link.member.key)
        self._gossip.seek(link.member.key, now)
        self._try_in_place(link, now)

    def _try_in_place(self, link: Link, now: float) -> None:
        """One endpoint after the other under the session as it is: keys survive a change of path."""
        if link.in_place and now - link.since < IN_PLACE_TIME:
            endpoint, link.in_place = link.in_place[0].endpoint, link.in_place[1:]
            self._out.append(Change(link.member.key, endpoint=endpoint))
            self._prober.hello(link, now)
            self._schedule(link, now + IN_PLACE_TURN)
            return
        link.happened(Event.EXHAUSTED, now)
        link.forget_probes()
        link.misses = 0
        if not len(link.candidates):
            # Also clears the handshake timestamp WireGuard keeps against replays: after a clock was set
            # back, the member's initiations look old until then.
            self._cleared.add(link.member.key)
            self._out.append(Look())
        self.start(link, now, wait=0.0 if link.low else HIGH_WAITS)

    def readd(self, link: Link, peer: Peer | None, endpoint: Endpoint | None) -> None:
        """The peer as it is, with all that somebody gave it, at another endpoint and without a session."""
        if peer is None:
            peer = Peer(link.member.key, keepalive=KEEPALIVE, allowed_ips=link.member.networks)
        self._out.append(Readd(replace(peer, endpoint=endpoint, handshake=0, rx_bytes=0, tx_bytes=0)))

    def _is_vain(self, link: Link) -> bool:
        """Whether shots at the member were in vain, and the NATs explain it."""
        if len(self._links) <= SMALL or not link.attempt.rounds:
            return False
        book = self._gossip.book
        return are_kept_apart(book.get(self._gossip.own), book.get(link.member.key))

    def _only_ours_is_open(self, link: Link) -> bool:
        """Whether the member can shoot at us, and nobody can tell where to shoot at it."""
        ours, theirs = self._gossip.book.get(self._gossip.own), self._gossip.book.get(link.member.key)
        if has_opened_port(ours):
            return not has_opened_port(theirs)
        return ours is not None and ours.nat is Nat.OPEN and seems_to_change_ports(theirs)
