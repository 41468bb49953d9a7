"""What follows when a member is reached, and how it is watched: probes, misses, the verdict of a dead path.

Pure. A doubted link is only ever changed in place: its session outlives what is tried.
"""

from __future__ import annotations

from .budget import Budget
from .candidates import Candidate
from .choice import Choice
from .common import Common
from .effects import Change, Level, Look, Save, Send
from .gossip import Gossip
from .link import (
    MISSED_INTERVAL,
    MISSES_TO_DOUBT,
    MISSES_TO_SILENCE,
    PROBE_INTERVAL,
    UP,
    Event,
    Link,
    State,
)
from .messages import Hello, Kind, Seek
from .pace import AT_ONCE, PROBE_RATE, SMALL, claim, enough_misses, probe_interval, repeat_interval
from .values import Endpoint

LAN_PROBE_INTERVAL = 1.0  # s between answered probes on a LAN, if the member may be reached elsewhere too
LAN_MISSED_INTERVAL = 0.2  # s after which an unanswered one is repeated there: a LAN answers in milliseconds
ANSWERS_REMEMBERED = 8  # of whose times the usual one is made
MISSES_TO_LEAVE_LAN = 4  # then the other endpoints are tried, in turn with the LAN
MOVES_SPACING = 10.0  # s between two times that many are asked at once whether we moved
AGENTLESS_FIRST = 0.1  # s; the first probe after a refusal comes after twice that
AGENTLESS_PATIENCE = 15.0  # s without a sign of WireGuard itself, where no agent answers


class Prober:
    def __init__(self, common: Common, gossip: Gossip, choice: Choice) -> None:
        self._links, self._roll, self._standpoint = common.links, common.roll, common.standpoint
        self._rng, self._out, self._schedule, self._say = common.rng, common.out, common.schedule, common.say
        self._gossip, self._choice = gossip, choice
        self._number = common.rng.randrange(2**32)
        self._proofs = Budget(1 / PROBE_RATE, AT_ONCE)
        self._moves = Budget(MOVES_SPACING, 1)
        self._usual = 0.0  # s that answers take, all links together

    def hello(self, link: Link, now: float) -> None:
        self._number = (self._number + 1) % 2**32
        link.probe_sent(self._number, now)
        self._out.append(Send(link.member, Hello(self._number, self._gossip.book.digest, link.endpoint)))

    def came_up(self, link: Link, now: float) -> None:
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
        self._gossip.greet(link, now)
        self.hello(link, now)
        self._schedule(link, now + MISSED_INTERVAL)

    def probe(self, link: Link, now: float) -> None:
        """A probe is due; if the last one is unanswered, that was a miss, and the link may be silent now."""
        if link.first_unanswered is not None:
            self._missed(link, now)
        if link.is_up:
            self.hello(link, now)
            self._schedule(link, now + (self._patience(link) if link.agent else self.interval(link)))

    def answered(self, link: Link) -> None:
        """A probe was answered. One that waited for a handshake says nothing of how long answers take."""
        asked = link.answered - link.sample
        if link.state is State.DOUBTED or (link.state is State.CONNECTED and asked >= link.since):
            self._usual += (link.sample - self._usual) / ANSWERS_REMEMBERED

    def interval(self, link: Link) -> float:
        """Seconds from an answered probe to the next: few on a LAN that could be left for another path.

        Where no agent answers, from any probe to the next: few at first, as it may be starting.
        """
        hasty = link.agent and link.on_lan and self._elsewhere(link)
        least = LAN_PROBE_INTERVAL if hasty else PROBE_INTERVAL
        interval = probe_interval(least, self._roll.count(*UP), self._rng)
        if link.agent:
            return interval
        link.agentless_probes += 1
        return min(interval, AGENTLESS_FIRST * 2.0 ** min(link.agentless_probes, 10))

    def prove(self, link: Link, now: float) -> None:
        """Probe the link soon: at once, unless all of a large mesh are to be proved."""
        small = len(self._links) <= SMALL
        self._schedule(link, now if small else claim(self._proofs, now))

    def ask_where(self, now: float) -> None:
        """Somebody sees us elsewhere than before: have others look soon whether that is so.

        Who is asked for somebody looks at the device, and who finds us moved tells us where we are.
        """
        if self._moves.allows(now):
            here = self._roll.some(AT_ONCE, self._rng, lambda link: not link.misses, State.CONNECTED)
            self._out.extend(Send(link.member, Seek(())) for link in here)

    def _patience(self, link: Link) -> float:
        """Seconds until an unanswered probe is repeated."""
        hasty = link.on_lan and not link.strayed and (link.hint or self._elsewhere(link))
        least = LAN_MISSED_INTERVAL if hasty else MISSED_INTERVAL
        return repeat_interval(least, self._usual, self._roll.count(State.DOUBTED), len(self._links))

    def _elsewhere(self, link: Link) -> list[Candidate]:
        """Where else than on the LAN to try; our own router's address (no hairpin) is no choice."""
        own, near = self._standpoint.public(), self._standpoint.is_on_link
        order = self._choice.order(link)
        return [each for each in order if not near(each.endpoint.ip) and each.endpoint.ip not in own]

    def _missed(self, link: Link, now: float) -> None:
        link.misses += 1
        doubted, members = self._roll.count(State.DOUBTED), len(self._links)
        if (link.misses % 2 == 1 and (link.misses > 1 or members <= SMALL)) or not link.agent:
            self._out.append(Look())  # received bytes, for the verdict to come
        if not link.agent:
            if now - (link.first_unanswered or now) > AGENTLESS_PATIENCE:
                self._judge(link, now)
            return
        link.happened(Event.MISSED, now)
        if link.misses == MISSES_TO_DOUBT:
            self._gossip.seek(link.member.key, now)
        if link.misses >= MISSES_TO_DOUBT:
            if link.on_lan and not link.hint and link.misses >= MISSES_TO_LEAVE_LAN:
                others = self._elsewhere(link)
                link.hint = others[link.misses // 2 % len(others)] if others else None
            self._try_hint(link)
        if link.misses >= enough_misses(link.patience, doubted, members):
            # What came right at the start may have waited in a buffer while we were suspended.
            began = (link.first_unanswered or now) + MISSED_INTERVAL
            if link.patience < MISSES_TO_SILENCE and link.rx_grew > began:
                link.patience = MISSES_TO_SILENCE  # something lives there: no haste
            else:
                self._judge(link, now)

    def _try_hint(self, link: Link) -> None:
        """Try a hint in place; every other time where the member last answered, for hints may be lies."""
        if link.hint and link.misses % 2 == 0:
            self._change(link, link.hint.endpoint)
            link.hint, link.strayed = None, True
        elif link.strayed and link.home:
            self._change(link, link.home)
            link.strayed = False

    def _change(self, link: Link, endpoint: Endpoint) -> None:
        self._out.extend((Change(link.member.key, endpoint=endpoint), Look()))

    def _judge(self, link: Link, now: float) -> None:
        """Nobody answers: is the path dead, or only the agent?"""
        if link.answers_without_agent(now):
            self.without_agent(link, now)
            link.happened(Event.ANSWERED, now)
            if not link.told:
                self.came_up(link, now)
            return
        link.happened(Event.MISSED, now)
        link.happened(Event.SILENCE, now)
        link.told = False
        quiet = now - (link.first_unanswered or now)
        self._say(Level.WARNING, link, f"silent: no answer for {quiet:.0f} s at {link.endpoint}")

    def without_agent(self, link: Link, now: float) -> None:
        """The path works, but only WireGuard answers there."""
        if link.agent and link.is_up:
            self._say(Level.WARNING, link, "is reachable, but no agent answers there")
        link.agent = False
        link.proved_alive(now)

    def doubt(self, link: Link, hint: Candidate, now: float) -> None:
        """Somebody sees the member elsewhere. Ours may still work: prove it before anything moves."""
        if any(each.endpoint == hint.endpoint for each in self._choice.order(link)):
            link.hint = hint
        if link.first_unanswered is None:
            self._schedule(link, now)
