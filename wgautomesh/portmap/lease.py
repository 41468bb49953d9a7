"""One mapping on one router: asked for in every way at once, kept by the way that answers first. Pure.

Everything that decides about a mapping lives here; times are in s on the caller's clock. Events come in as
method calls, and what is to be done is fetched with `take`. Datagrams carry no secret but PCP's nonce, so a
neighbour that forges the router's address can fool this file: that costs a datagram every few seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from random import Random

from ..candidates import is_private
from ..values import Endpoint, IPAddress
from . import natpmp, pcp
from .actions import Action, Datagram, EndUpnp, Opened, Trouble, Upnp, UpnpAnswer, Way, Wish
from .epoch import Epoch
from .words import not_public, nothing_opened

LIFETIME = 3600  # s asked for: a node that dies leaves its port open no longer
LIFETIMES = (
    120.0,
    86_400.0,
)  # s; what a router says beyond them is taken to be these
CHECK_EVERY = 40.0  # s between looks at whether the router still has the mapping
FAILED_CHECKS = 5  # UPnP checks that may fail in a row
RESEND = 0.25  # s until a datagram is sent again, doubled each time (RFC 6886, section 3.1)
SENDS = 6  # of one datagram; 16 s in all
NAT_PMP_WAITS = 0.25  # s by which PCP has precedence: both would make two mappings of one
BACKOFF = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)  # s of pause after nothing was opened
RECOVER_EVERY = 5.0  # s between mappings made again because an epoch, which a neighbour could forge, says so
STABLE = 60.0  # s; a mapping lost sooner after we asked is asked for with pauses
SPREAD = 1.0  # s within which we answer what the router told the whole LAN


class _Phase(Enum):
    ASKING = 1  # all ways, at once
    HELD = 2
    RESTING = 3  # nothing was opened; `_due` is when to ask again
    STOPPED = 4


class _Question(Enum):
    """A datagram that wants an answer."""

    PCP_MAP = 1
    PCP_EPOCH = 2
    ADDRESS = 3
    NAT_PMP_MAP = 4

    @property
    def way(self) -> Way:
        return Way.PCP if self in (_Question.PCP_MAP, _Question.PCP_EPOCH) else Way.NAT_PMP


_MAP = {Way.PCP: _Question.PCP_MAP, Way.NAT_PMP: _Question.NAT_PMP_MAP}
_CHECK = {Way.PCP: _Question.PCP_EPOCH, Way.NAT_PMP: _Question.ADDRESS}


@dataclass(slots=True)
class _Pending:
    due: float  # when it is sent next
    sends: int = 0


@dataclass(frozen=True, slots=True)
class _Held:
    way: Way
    external: Endpoint
    renew: float
    expires: float
    sure: bool = True  # False: the router seems to have lost it


@dataclass(slots=True)
class _Memory:
    """What outlives an attempt."""

    epochs: dict[Way, Epoch] = field(default_factory=dict)
    address: IPAddress | None = None  # the router's, by NAT-PMP
    port: int = 0  # the external port last held
    url: str = ""  # of the router's UPnP description


class Lease:
    def __init__(self, wish: Wish, rng: Random, now: float) -> None:
        self.wish = wish
        self._rng = rng
        self._out: list[Action] = []
        self._open: dict[_Question, _Pending] = {}
        self._troubles: dict[Way, tuple[Trouble, str]] = {}
        self._held: _Held | None = None
        self._memory = _Memory()
        self._rounds = 0
        self._upnp_runs = False
        self._failed_checks = 0
        self._check_due = self._due = float("inf")
        self._recovered = self._asked = float("-inf")
        self._phase = _Phase.RESTING
        self._ask(now)

    @property
    def endpoint(self) -> Endpoint | None:
        """Where strangers reach us now."""
        held = self._held
        return held.external if held and held.sure and _is_public(held.external.ip) else None

    @property
    def way(self) -> Way | None:
        """Who keeps the mapping for us."""
        return self._held.way if self._held else None

    def take(self) -> list[Action]:
        actions = list(self._out)
        self._out.clear()
        return actions

    # -- events ---------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> None:
        """A datagram from the router, to us alone."""
        match self._decode(data):
            case natpmp.Address(ip, epoch):
                self._hear_address(ip, now)
                self._hear_epoch(Way.NAT_PMP, epoch, now)
            case natpmp.Mapped(internal, external, lifetime, epoch):
                asked = self._open.get(_Question.NAT_PMP_MAP)
                if asked and lifetime and internal == self.wish.internal.port and self._memory.address:
                    self._remember(Way.NAT_PMP, epoch, now)
                    self._granted(Way.NAT_PMP, Endpoint(self._memory.address, external), lifetime, now)
            case pcp.Mapped(nonce, internal, external, lifetime, epoch):
                ours = nonce == self.wish.nonce and internal == self.wish.internal.port
                if ours and lifetime and _Question.PCP_MAP in self._open:
                    self._remember(Way.PCP, epoch, now)
                    self._granted(Way.PCP, external, lifetime, now)
            case pcp.Announcement(epoch):
                self._open.pop(_Question.PCP_EPOCH, None)
                self._hear_epoch(Way.PCP, epoch, now)
            case natpmp.NoPcp():
                self._refused(_Question.PCP_MAP, Trouble.SILENT, "", now)
            case natpmp.Refused(mapping, trouble, why):
                self._refused(_Question.NAT_PMP_MAP if mapping else _Question.ADDRESS, trouble, why, now)
            case pcp.Refused(mapping, trouble, why):
                self._refused(_Question.PCP_MAP if mapping else _Question.PCP_EPOCH, trouble, why, now)

    def announced(self, data: bytes, now: float) -> None:
        """A datagram from the router to the whole LAN: it may have started anew."""
        match self._decode(data):
            case natpmp.Address(ip, epoch):
                if self._held and self._held.way is Way.NAT_PMP:
                    self._hear_address(ip, now)
                self._hear_epoch(Way.NAT_PMP, epoch, now, spread=True)
            case pcp.Announcement(epoch):
                self._hear_epoch(Way.PCP, epoch, now, spread=True)
            case _:
                return
        self.hint(now)

    def hint(self, now: float) -> None:
        """The router may have started anew, or we have slept, by a word without an epoch: look."""
        soon = now + self._rng.uniform(0, SPREAD)
        if self._phase is _Phase.RESTING:
            self._due = min(self._due, max(soon, self._asked + RECOVER_EVERY))
        elif self._held and self._held.way is Way.UPNP and not self._upnp_runs:
            self._check_due = min(self._check_due, max(soon, self._recovered + RECOVER_EVERY))
            self._recovered = now

    def woke(self, now: float) -> None:
        """We were suspended, or the network changed and changed back."""
        if self._phase is _Phase.RESTING:
            self._rounds = 0
            self._ask(now)
        self._check_due = min(self._check_due, now)

    def upnp(self, answer: UpnpAnswer, now: float) -> None:
        """The UPnP program has ended."""
        self._upnp_runs = False
        self._memory.url = answer.url
        held = self._held if self._held and self._held.way is Way.UPNP else None
        if self._phase is _Phase.ASKING or held:
            if answer.ip is not None:
                self._failed_checks = 0
                if held and answer.made:
                    self._doubt(held)
                self._granted(Way.UPNP, Endpoint(answer.ip, answer.port), answer.lifetime, now)
                return
            self._troubles[Way.UPNP] = answer.trouble or Trouble.REFUSED, answer.error
            self._failed_checks += 1
            if held and (answer.trouble is Trouble.TAKEN or self._failed_checks >= FAILED_CHECKS):
                self._lose(now)
        self._settle(now)

    def stop(self) -> None:
        """Release what is held, or may be."""
        ways = [question.way for question in self._open if question in _MAP.values()]
        if self._held:
            ways.append(self._held.way)
        elif self._upnp_runs:  # its answer has not come, but what it asked for may be there
            ways.append(Way.UPNP)
        for way in dict.fromkeys(ways):
            self._release(way)
        self._phase, self._held = _Phase.STOPPED, None
        self._open.clear()

    def tick(self, now: float) -> None:
        for question in [each for each, pending in self._open.items() if pending.due <= now]:
            self._send(question, now)
        held = self._held
        if self._phase is _Phase.RESTING and now >= self._due:
            self._ask(now)
        elif held and now >= held.expires:
            self._lose(now)
        elif held and now >= min(held.renew, self._check_due):
            self._look_after(held, now)

    def next_tick(self) -> float:
        due = [pending.due for pending in self._open.values()]
        if self._phase is _Phase.RESTING:
            due.append(self._due)
        if self._held:
            due += [self._held.renew, self._held.expires, self._check_due]
        return min(due, default=float("inf"))

    # -- asking ---------------------------------------------------------------------------------------

    def _ask(self, now: float) -> None:
        """Begin anew, in every way at once. NAT-PMP is only asked for the address: that makes nothing."""
        self._phase, self._asked = _Phase.ASKING, now
        self._troubles.clear()
        self._open.clear()
        self._memory.address = None
        self._put(_Question.PCP_MAP, now)
        if self.wish.internal.ip.version == 4:
            self._put(_Question.ADDRESS, now)
            self._run_upnp()

    def _put(self, question: _Question, at: float) -> None:
        """Have a question sent at `at`, and again until it is answered."""
        if question not in self._open:
            self._open[question] = _Pending(at)

    def _run_upnp(self) -> None:
        if not self._upnp_runs:
            self._upnp_runs = True
            self._out.append(Upnp(self._memory.port or self.wish.external_port, self._memory.url))

    def _send(self, question: _Question, now: float) -> None:
        pending = self._open[question]
        if pending.sends == SENDS:
            del self._open[question]
            self._unanswered(question, now)
            return
        pending.due = now + RESEND * 2**pending.sends
        pending.sends += 1
        self._out.append(Datagram(self._datagram(question, LIFETIME)))

    def _datagram(self, question: _Question, lifetime: int) -> bytes:
        internal = self.wish.internal
        port = self._memory.port or self.wish.external_port or internal.port
        match question:
            case _Question.PCP_EPOCH:
                return pcp.ask_announcement(internal.ip)
            case _Question.ADDRESS:
                return natpmp.ASK_ADDRESS
            case _Question.NAT_PMP_MAP:
                return natpmp.ask_mapping(internal.port, port if lifetime else 0, lifetime)
        suggested = replace(pcp.anywhere(internal.ip.version), port=port)
        return pcp.ask_mapping(internal.ip, self.wish.nonce, internal.port, suggested, lifetime)

    def _release(self, way: Way) -> None:
        if way is Way.UPNP:
            port = self._memory.port or self.wish.external_port or self.wish.internal.port
            self._out.append(Upnp(port, self._memory.url, release=True))
        else:
            self._out.append(Datagram(self._datagram(_MAP[way], 0)))

    def _unanswered(self, question: _Question, now: float) -> None:
        held = self._held
        if held is None:
            self._troubles.setdefault(question.way, (Trouble.SILENT, ""))
            self._settle(now)
        elif question is _MAP.get(held.way) and not held.sure:
            self._lose(now)
        elif question is _MAP.get(held.way):
            self._held = replace(held, renew=now + (held.expires - now) / 2)

    def _refused(self, question: _Question, trouble: Trouble, why: str, now: float) -> None:
        if self._open.pop(question, None) is None:
            return
        self._troubles[question.way] = trouble, why
        if self._held and question is _MAP.get(self._held.way):
            self._lose(now)
        elif question is _Question.PCP_MAP and _Question.NAT_PMP_MAP in self._open:
            self._open[_Question.NAT_PMP_MAP].due = now
        self._settle(now)

    def _settle(self, now: float) -> None:
        """If nothing is left to wait for, rest, and say what was wrong."""
        if self._phase is not _Phase.ASKING or self._open or self._upnp_runs:
            return
        self._rest(now)
        self._out.append(nothing_opened(self.wish, self._troubles))

    def _rest(self, now: float) -> None:
        self._phase = _Phase.RESTING
        self._open.clear()
        pause = BACKOFF[min(self._rounds, len(BACKOFF) - 1)]
        self._rounds += 1
        self._due = now + pause * self._rng.uniform(0.9, 1.1)

    # -- holding --------------------------------------------------------------------------------------

    def _granted(self, way: Way, external: Endpoint, lifetime: int, now: float) -> None:
        if self._phase not in (_Phase.ASKING, _Phase.HELD) or (self._held and self._held.way is not way):
            return
        wanted = self.wish.external_port
        if external.ip.version != self.wish.internal.ip.version:
            return
        if external.port == 0 or (wanted and external.port != wanted):
            self._open.pop(_MAP.get(way, _Question.PCP_MAP), None)
            self._troubles[way] = Trouble.TAKEN, ""
            if external.port:
                self._release(way)
            if self._held:
                self._lose(now)
            self._settle(now)
            return
        if self._upnp_runs:
            self._upnp_runs = False
            self._out.append(EndUpnp())
        before = self.endpoint
        shortest, longest = LIFETIMES
        length = float("inf") if way is Way.UPNP and lifetime == 0 else min(max(lifetime, shortest), longest)
        self._held = _Held(way, external, renew=now + length / 2, expires=now + length)
        self._phase = _Phase.HELD
        self._memory.port = external.port
        self._open.clear()
        self._check_due = now + CHECK_EVERY
        if self.endpoint is None:
            self._out.append(not_public(self.wish, external.ip))
        if self.endpoint != before:
            self._out.append(Opened(self.endpoint, way))

    def _look_after(self, held: _Held, now: float) -> None:
        """A check or the renewal is due."""
        renewal = now >= held.renew
        self._check_due = now + CHECK_EVERY
        if renewal:
            self._held = replace(held, renew=now + max(CHECK_EVERY, (held.expires - now) / 2))
        if held.way is Way.UPNP:
            self._run_upnp()
        else:
            self._put((_MAP if renewal else _CHECK)[held.way], now)
            self.tick(now)

    def _hear_address(self, ip: IPAddress, now: float) -> None:
        """The router says its public address."""
        self._open.pop(_Question.ADDRESS, None)
        held = self._held
        if int(ip) == 0:
            self._troubles[Way.NAT_PMP] = Trouble.PRIVATE, "it has no public address"
            self._settle(now)
        elif held and held.way is Way.NAT_PMP and ip != held.external.ip:
            self._memory.address = ip
            self._make_again(held, now)
        elif self._phase is _Phase.ASKING:
            self._memory.address = ip
            wait = NAT_PMP_WAITS if _Question.PCP_MAP in self._open else 0.0
            self._put(_Question.NAT_PMP_MAP, now + wait)

    def _hear_epoch(self, way: Way, said: int, now: float, *, spread: bool = False) -> None:
        before, new = self._memory.epochs.get(way), self._remember(way, said, now)
        if before is None or self._held is None or self._held.way is not way:
            return
        goes_on = new.continues_pcp(before) if way is Way.PCP else new.continues_nat_pmp(before)
        if not goes_on:
            self._make_again(self._held, now + (self._rng.uniform(0, SPREAD) if spread else 0.0))

    def _remember(self, way: Way, said: int, now: float) -> Epoch:
        self._memory.epochs[way] = new = Epoch(said, now)
        return new

    def _make_again(self, held: _Held, at: float) -> None:
        """The router has lost the mapping, or moved it."""
        due = max(at, self._recovered + RECOVER_EVERY)
        self._recovered = due
        self._doubt(held)
        self._put(_MAP[held.way], due)

    def _doubt(self, held: _Held) -> None:
        if self.endpoint:
            self._out.append(Opened(None))
        self._held = replace(held, sure=False)

    def _lose(self, now: float) -> None:
        """The mapping is gone, and its way does not make it again: ask all."""
        if self.endpoint:
            self._out.append(Opened(None))
        self._held, self._failed_checks = None, 0
        if now - self._asked > STABLE:
            self._rounds = 0
            self._ask(now)
        else:
            self._rest(now)

    # -- words ----------------------------------------------------------------------------------------

    def _decode(self, data: bytes) -> object:
        """A message of one of the protocols, or None. The first byte is the version in both."""
        if data[:1] == bytes([natpmp.VERSION]) and self.wish.internal.ip.version == 4:
            return natpmp.decode(data)
        return pcp.decode(data)


def _is_public(ip: IPAddress) -> bool:
    return ip.is_global and not ip.is_multicast and not is_private(ip)
