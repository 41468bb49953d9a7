"""The schedule by which two sides shoot at each other until a handshake gets through.

Pure: it says when to shoot at what; `pursuit.py` looks at the device and shoots. Why it is asymmetric: if the
handshake initiations of both sides cross on the wire, each side drops the other's response, so two sides in
step never connect. Both shoot once at the same time, which opens both NATs; after that the side with the
lower key is first, and the other keeps out of its way. Timings and measurements: docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from .candidates import MAX_CANDIDATES, Candidate
from .values import Key

MIN_SPACING = 0.35  # s between two shots at one member, whatever news comes in
LOW_FIRST = 0.4  # s until the lower key's second shot, if no round trip time is known
REPEAT = 1.0  # s between later shots
HIGH_JITTER = 0.3  # s, either way, for the higher key
TURN = 1.0  # s a candidate gets, at least
LAST_TURN = 3.0  # s the last candidate of a round gets: a single one deserves several shots
TURN_RTTS = 2.5  # round trips a candidate gets
RESTARTS = 2  # of one round by one source's news: lies must not keep the truth from its turn
BACKOFF = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # s of pause after each round, with jitter
BACKOFF_JITTER = 0.2  # as a share of the pause
QUIET_ROUNDS = 3  # after so many, some NAT may have our early packets in its table, and remap us
QUIET = 40.0  # s of silence; Linux forgets such an entry after 30 s without a packet
QUIET_ENOUGH = 33.0  # s of silence after which an introduction may end it
NO_RESTARTS: dict[Key | None, int] = {}  # one for all links, never written to


class Attempt:
    """One campaign to reach a member that has no live session. All times in s on the core's clock."""

    __slots__ = (
        "_queue",
        "_restarts",
        "_rng",
        "_turn_began",
        "_turn_ends",
        "last_shot",
        "low",
        "next_shot",
        "quiet_since",
        "rounds",
        "rx_at_shot",
        "shots",
        "skips",
        "target",
    )

    def __init__(self, *, low: bool, rng: Random) -> None:
        self.low = low
        self.rounds = 0  # full rounds without success
        self.target: Candidate | None = None
        self.next_shot = float("-inf")
        self.shots = 0  # in this turn
        self.skips = 0  # turns that the higher key left to the other side, in a row
        self.rx_at_shot = 0  # received bytes when the last shot left
        self.quiet_since: float | None = None
        self._rng = rng
        self._turn_began = self._turn_ends = 0.0
        self.last_shot = float("-inf")
        self._queue: tuple[Candidate, ...] = ()
        self._restarts = NO_RESTARTS  # of this round, by source

    def begin_round(self, candidates: Sequence[Candidate], now: float, wait: float = 0.0) -> None:
        """Start over with these, best first, `wait` seconds from now."""
        self._queue = tuple(candidates)
        self.quiet_since = None
        self._next_turn(now + wait)
        self.next_shot = max(now + wait, self.last_shot + MIN_SPACING)

    def reset(self) -> None:
        """Something new is known: the pauses begin small again."""
        self.rounds = 0

    def is_trying(self, candidate: Candidate, now: float) -> bool:
        """Whether it is this candidate's turn, with time left."""
        return (
            self.target is not None and self.target.endpoint == candidate.endpoint and now < self._turn_ends
        )

    def queue(self, candidates: Sequence[Candidate]) -> None:
        """Other candidates for the rest of the round; whose turn it is goes on."""
        self._queue = tuple(candidates)
        self._shorten()

    def may_restart(self, source: Key | None) -> bool:
        """Whether news from this source may begin the round anew; else it waits for its turn."""
        count = self._restarts.get(source, 0) + 1
        self._restarts = self._restarts or {}
        self._restarts[source] = count
        return count <= RESTARTS

    def is_quiet(self, now: float) -> bool:
        """Whether the silence that makes NATs forget us must not be broken yet."""
        return self.quiet_since is not None and now - self.quiet_since < QUIET_ENOUGH

    def append(self, candidate: Candidate) -> None:
        """A candidate for the end of the round."""
        if (
            all(each.endpoint != candidate.endpoint for each in self._queue)
            and len(self._queue) < MAX_CANDIDATES
        ):
            self._queue += (candidate,)
            self._shorten()

    def turn_is_over(self, now: float) -> bool:
        return now >= self._turn_ends

    def next_candidate(self, now: float) -> bool:
        """Go on to the next candidate of the round; False if there is none left."""
        if not self._queue:
            return False
        self._next_turn(now)
        return True

    def shot(self, now: float, rx_bytes: int) -> None:
        """A shot left: plan the next."""
        self.shots += 1
        self.skips = 0
        self.rx_at_shot = rx_bytes
        self.last_shot = now
        rtt = self.target.rtt if self.target else 0.0
        if self.low:
            self.next_shot = now + (max(LOW_FIRST, 1.5 * rtt) if self.shots == 1 else REPEAT)
        else:
            self.next_shot = now + REPEAT + self._rng.uniform(-HIGH_JITTER, HIGH_JITTER)

    def yields(self, rx_bytes: int, *, only_they_get_through: bool = False) -> bool:
        """Whether this turn is left to the other side, whose packets arrive.

        That is for the higher key to do; but if only theirs can get through, as a port was opened for us and
        none for them, a shot of ours, even the first, would only undo the handshake that they began.
        """
        waits = only_they_get_through or (not self.low and self.shots > 0)
        return waits and rx_bytes > self.rx_at_shot and self.skips < 3

    def wait(self, now: float) -> None:
        """The shot that is due may not leave yet."""
        self.next_shot = now + REPEAT + self._rng.uniform(-HIGH_JITTER, HIGH_JITTER)

    def skip(self, now: float, rx_bytes: int) -> None:
        self.skips += 1
        self.rx_at_shot = rx_bytes
        self.last_shot = now  # news that begins the round anew must not end the other side's turn
        self.wait(now)

    def rest(self, now: float) -> None:
        """A round failed: pause, longer each time."""
        self._restarts = NO_RESTARTS
        pause = BACKOFF[min(self.rounds, len(BACKOFF) - 1)]
        self.rounds += 1
        self.target = None
        self.next_shot = now + pause * (1 + self._rng.uniform(-BACKOFF_JITTER, BACKOFF_JITTER))

    def be_quiet(self, now: float) -> None:
        """Say nothing at all for so long that every NAT on the way forgets us."""
        self._restarts = NO_RESTARTS
        self.rounds += 1
        self.target = None
        self.quiet_since = now
        self.next_shot = now + QUIET

    def _shorten(self) -> None:
        """Others wait now: the turn is not the round's last any more."""
        if self._queue and self.target:
            self._turn_ends = min(self._turn_ends, self._turn_began + max(TURN, TURN_RTTS * self.target.rtt))

    def _next_turn(self, starts: float) -> None:
        self.target = self._queue[0] if self._queue else None
        self._queue = self._queue[1:]
        rtt = self.target.rtt if self.target else 0.0
        self.shots = 0
        self.next_shot = max(starts, self.last_shot + MIN_SPACING)
        length = max(TURN, TURN_RTTS * rtt)
        self._turn_began = self.next_shot
        self._turn_ends = self.next_shot + (length if self._queue else max(LAST_TURN, length))
