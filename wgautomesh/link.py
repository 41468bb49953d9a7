"""How we stand with one member. Everything that changes a link's state lives in this file.

The transitions are a table, and the picture in docs/ is drawn from it. A link decides nothing about packets:
`mesh.py`, `dialogue.py`, `probing.py` and `pursuit.py` tell it what happened, and act on the state it is in.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from enum import Enum
from random import Random

from .attempt import Attempt
from .candidates import Candidate, Candidates, lacks_scope
from .journal import Journal
from .messages import Nat
from .pace import SMALL
from .values import Endpoint, IPNetwork, Member, Peer

NO_NETWORKS: frozenset[IPNetwork] = frozenset()
NEVER = float("-inf")  # s; one object for all links
PROBE_INTERVAL = 4.0  # s between probes that are answered
MISSED_INTERVAL = 0.5  # s after which an unanswered probe is repeated
MISSES_TO_DOUBT = 2  # then ask others where the member is, and try what they say in place
MISSES_TO_SILENCE = 20  # 14 s in all; three misses give eight false alarms a minute at 20 % loss
MISSES_ADOPTED = 4  # for a session found at start or after a suspension: nobody answered us there yet
PROBES_KEPT = 32  # unanswered probes whose answer would still count
HANDSHAKE_FRESH = 150.0  # s; WireGuard renews a session in use after 120 s (REKEY_AFTER_TIME)
PASSIVE_REPLY = 11.0  # s; WireGuard answers data with an empty packet after 10 s (KEEPALIVE_TIMEOUT)


class State(Enum):
    """The value is what a person reads."""

    NO_CANDIDATE = "no candidate"
    TRYING = "trying"
    CONNECTED = "connected"
    DOUBTED = "doubted"
    SILENT = "silent"


class Event(Enum):
    """What can happen to a link."""

    CANDIDATE = "an endpoint to try"
    NOTHING_TO_TRY = "no endpoint left"
    SESSION_FOUND = "session found on the interface"
    REACHED = "the member is reached"
    ANSWERED = "probe answered"
    MISSED = "probe missed"
    SILENCE = "too many misses"
    EXHAUSTED = "no endpoint answers in place"
    LOST = "interface gone"


UP = (State.CONNECTED, State.DOUBTED)

# What is not in the table does not change the state: a late miss on a silent link is no news.
TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.NO_CANDIDATE, Event.CANDIDATE): State.TRYING,
    (State.NO_CANDIDATE, Event.SESSION_FOUND): State.DOUBTED,
    (State.NO_CANDIDATE, Event.REACHED): State.CONNECTED,
    (State.TRYING, Event.REACHED): State.CONNECTED,
    (State.TRYING, Event.NOTHING_TO_TRY): State.NO_CANDIDATE,
    (State.TRYING, Event.LOST): State.NO_CANDIDATE,
    (State.CONNECTED, Event.MISSED): State.DOUBTED,
    (State.CONNECTED, Event.LOST): State.NO_CANDIDATE,
    (State.DOUBTED, Event.ANSWERED): State.CONNECTED,
    (State.DOUBTED, Event.SILENCE): State.SILENT,
    (State.DOUBTED, Event.LOST): State.NO_CANDIDATE,
    (State.SILENT, Event.ANSWERED): State.CONNECTED,
    (State.SILENT, Event.EXHAUSTED): State.TRYING,
    (State.SILENT, Event.LOST): State.NO_CANDIDATE,
}
_TEXTS = {(event, after): f"{event.value}: {after.value}" for (_, event), after in TRANSITIONS.items()}


class Roll:
    """Which links are in which state, so that nobody needs to look through thousands for a few."""

    def __init__(self) -> None:
        self._links: dict[State, list[Link]] = {state: [] for state in State}
        self._came = itertools.count()

    def enter(self, link: Link) -> None:
        """A new link."""
        link.number = next(self._came)
        self.put(link)

    def put(self, link: Link) -> None:
        """With those of its state, after `leave`."""
        links = self._links[link.state]
        link.place = len(links)
        links.append(link)

    def leave(self, link: Link) -> None:
        """To be called before its state changes, or when the member is no more."""
        links = self._links[link.state]
        last = links.pop()
        if last is not link:  # the last one takes the place that is free now
            links[link.place] = last
            last.place = link.place

    def count(self, *states: State) -> int:
        return sum(len(self._links[state]) for state in states)

    def some(
        self, count: int, rng: Random, wanted: Callable[[Link], bool], *states: State, mixed: bool = False
    ) -> list[Link]:
        """At most `count` that are wanted, at random. In a crowd only a few are looked at.

        If there are no more, they stand in the order in which they came, unless they are to be `mixed`.
        """
        total = self.count(*states)
        if total <= 4 * count + SMALL:
            links = [link for state in states for link in self._links[state] if wanted(link)]
            links.sort(key=lambda link: link.number)
            return links if len(links) <= count and not mixed else rng.sample(links, min(count, len(links)))
        found: list[Link] = []
        for place in rng.sample(range(total), 4 * count):
            link = self._at(place, states)
            if wanted(link):
                found.append(link)
                if len(found) == count:
                    break
        return found

    def _at(self, place: int, states: Sequence[State]) -> Link:
        for state in states:
            if place < len(self._links[state]):
                return self._links[state][place]
            place -= len(self._links[state])
        raise IndexError(place)


class Link:
    """One member's link. Times are in s on the core's clock. `roll` is kept in line with its state."""

    __slots__ = (
        "_attempt",
        "_rng",
        "_roll",
        "agent",
        "agentless_probes",
        "answered",
        "blocked",
        "candidates",
        "complained",
        "complaint",
        "down_since",
        "endpoint",
        "first_unanswered",
        "former",
        "hands_off_before",
        "hands_off_until",
        "handshake",
        "handshake_changed",
        "heard",
        "hint",
        "home",
        "in_place",
        "in_step",
        "introduced",
        "introduced_at",
        "journal",
        "low",
        "member",
        "misses",
        "nat",
        "number",
        "other_secret",
        "patience",
        "place",
        "probes",
        "resolved",
        "rtt",
        "rx_bytes",
        "rx_grew",
        "sample",
        "since",
        "state",
        "strayed",
        "told",
    )

    def __init__(self, member: Member, *, low: bool, rng: Random, now: float, roll: Roll) -> None:
        self.member = member
        self.low = low  # our key is the lower one
        self.state = State.NO_CANDIDATE
        self._roll = roll
        self.number = self.place = 0  # the roll's
        roll.enter(self)
        self.since = now  # when this state began
        self.down_since = now  # since when the member has not been reachable
        self.candidates = Candidates()
        self._rng = rng
        self._attempt: Attempt | None = None
        self.nat = Nat.UNKNOWN  # the NAT before the member, by its own word

        self.rtt: float | None = None  # s, smoothed
        self.misses = 0
        self.patience = MISSES_TO_SILENCE
        self.agent = True  # the member's agent answers; False: only its WireGuard does
        self.agentless_probes = 0
        self.probes: tuple[tuple[int, float], ...] = ()  # unanswered: number, sent at
        self.first_unanswered: float | None = None
        self.heard = NEVER  # last sealed datagram
        self.answered = NEVER  # when a probe was last answered,
        self.sample = 0.0  # after how many s
        self.home: Endpoint | None = None  # where the member last answered
        self.hint: Candidate | None = None  # where the member is said to be now, if the doubt is confirmed
        self.strayed = False  # the endpoint in use is a hint, not where the member last answered
        self.in_place: tuple[Candidate, ...] = ()  # what is still to be tried without touching the session

        self.endpoint: Endpoint | None = None  # WireGuard's, as last read
        self.handshake = 0  # WireGuard's value, as last read; 0 after a re-add of ours
        self.handshake_changed = NEVER
        self.hands_off_before = False  # in this campaign
        self.hands_off_until: float | None = None  # a handshake got through: no shots until then
        self.rx_bytes = 0
        self.rx_grew = NEVER  # bytes came later than this, or before the member
        self.former = NO_NETWORKS  # what was its allowed IP, and is no more
        self.blocked: str | None = None  # why this member cannot be served at all
        self.other_secret = False  # its datagrams do not open
        self.complaint = ""  # the last reason the operator was told
        self.told = False  # the operator knows that it is connected
        self.resolved = NEVER  # when its name was last looked up
        self.complained = NEVER  # when it last caused a line that it could cause again and again
        self.introduced = False  # by somebody, since it was last connected
        self.introduced_at = NEVER  # when that was last
        self.in_step: bool | None = None  # whether its book is like ours; None: it has not said
        self.journal = Journal()

    @property
    def attempt(self) -> Attempt:
        """The campaign to reach the member; of links that are up, which are most, none is kept."""
        if self._attempt is None:
            self._attempt = Attempt(low=self.low, rng=self._rng)
        return self._attempt

    def reached(self) -> None:
        """It is up: the next campaign begins like the first."""
        self._attempt = None
        self.introduced, self.in_place = False, ()
        self.hands_off_until, self.hands_off_before = None, False

    def lost(self, now: float) -> None:
        """The interface vanished: nothing of the session is left."""
        self.happened(Event.LOST, now)
        self.handshake, self.handshake_changed, self.rx_bytes = 0, NEVER, 0
        self.told, self.agent, self.agentless_probes = False, True, 0
        self.misses, self.hint = 0, None
        self.hands_off_until, self.hands_off_before = None, False
        self.in_place = ()
        self.forget_probes()

    def happened(self, event: Event, now: float) -> bool:
        """Take the transition for this event, if there is one; whether the state changed."""
        after = TRANSITIONS.get((self.state, event))
        if after is None:
            return False
        if self.state in (State.CONNECTED, State.DOUBTED) and after not in (State.CONNECTED, State.DOUBTED):
            self.down_since = now
        self._roll.leave(self)
        self.state, self.since = after, now
        self._roll.put(self)
        self.journal.note(_TEXTS[event, after], now)
        return True

    def downtime(self, now: float) -> str:
        """How long the member could not be reached, in words."""
        return _duration(now - self.down_since)

    @property
    def is_up(self) -> bool:
        return self.state in UP

    @property
    def on_lan(self) -> bool:
        """Whether the member last answered at an address on our LAN."""
        return self.is_lan(self.home)

    def is_lan(self, endpoint: Endpoint | None) -> bool:
        """Whether this is an address on our LAN that the member proved."""
        known = self.candidates.get(endpoint) if endpoint else None
        return known is not None and known.on_lan

    @property
    def is_wanted(self) -> bool:
        """Whether somebody who knows better should be asked about this member."""
        if self.blocked:
            return False
        return not self.is_up or (self.state is State.DOUBTED and self.misses >= MISSES_TO_DOUBT)

    def is_as(self, peer: Peer) -> bool:
        """Whether WireGuard shows nothing new: so it is with most of thousands of peers, each time.

        An endpoint without its scope is always news: the scope may be known by now.
        """
        endpoint = peer.endpoint
        return (
            peer.rx_bytes == self.rx_bytes
            and peer.handshake == self.handshake
            and endpoint == self.endpoint
            and not (endpoint and lacks_scope(endpoint))
        )

    def observe(self, peer: Peer, now: float, *, looked: float) -> None:
        """What WireGuard shows now, and last showed when `looked`. Bytes are counted anew after a re-add."""
        if peer.handshake != self.handshake:
            self.handshake = peer.handshake
            self.handshake_changed = now if peer.handshake else NEVER
        if peer.rx_bytes > self.rx_bytes:
            self.rx_grew = looked
        self.rx_bytes = peer.rx_bytes
        self.endpoint = self.candidates.scoped(peer.endpoint)

    def probe_sent(self, number: int, now: float) -> None:
        if self.first_unanswered is None:
            self.first_unanswered = now
        self.probes = (*self.probes, (number, now))[-PROBES_KEPT:]

    def forget_probes(self) -> None:
        self.probes, self.first_unanswered = (), None

    def probe_answered(self, number: int, now: float) -> bool:
        """Count the answer to a probe of ours; False if we never asked."""
        sent = next((at for each, at in self.probes if each == number), None)
        if sent is None:
            return False
        self.agent = True
        self.proved_alive(now)
        self.home, self.strayed = self.endpoint, False
        self.answered, self.sample = now, now - sent
        # The first probe of a link may have waited for the handshake: only later ones measure the path.
        if self.state is State.CONNECTED and sent >= self.since:
            self.rtt = self.sample if self.rtt is None else 0.8 * self.rtt + 0.2 * self.sample
        return True

    def proved_alive(self, now: float) -> None:
        """Both directions work."""
        self.misses = 0
        self.patience = MISSES_TO_SILENCE
        self.forget_probes()
        self.hint = None
        self.heard = now

    def answers_without_agent(self, now: float) -> bool:
        """Whether WireGuard itself proves the path, though nobody answers our probes.

        A fresh handshake, and bytes that came within the time WireGuard takes to answer ours. A sealed
        datagram since our first unanswered probe says the opposite: an agent is there, but cannot hear us.
        """
        asked = self.first_unanswered
        return (
            asked is not None
            and now - self.handshake_changed < HANDSHAKE_FRESH
            and self.rx_grew > asked
            and now - self.rx_grew < PASSIVE_REPLY
            and self.heard < asked
        )


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"
