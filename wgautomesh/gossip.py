"""Who tells whom: our own record, the exchange of books, and introductions.

Pure. Records are durable: versioned by their owner, passed on when new, compared by digest. Introductions
are of the moment: a member connected to two others tells both where it sees the other, so that they shoot
at the same time. Neither is ever more than a hint.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from .book import Book
from .budget import Budget
from .common import Common
from .effects import Send
from .link import UP, Link, State
from .messages import Introduce, Introduction, Message, Nat, Record, Records, Route, Seek, Summary, batches
from .pace import (
    COMPARE_BURST,
    COMPARE_SPACING,
    INTRODUCE_BURST,
    INTRODUCE_SPACING,
    NEWS_BURST,
    NEWS_SPACING,
    SEEK_BURST,
    SEEK_SPACING,
    SMALL,
    keys_asked,
)
from .values import Key

FANOUT = 6  # members that news goes to at once, if more are connected; the digests bring it to the rest
ASKED = 3  # connected members asked for one that is missing
INTRODUCE_EVERY = 1.0  # s between two introductions of a pair: both of them will ask
INTRODUCTIONS_KEPT = 10_000  # pairs remembered for that; forgetting one costs a datagram too many
INTRODUCED_LATELY = 2.0  # s in which both sides shoot at each other already
SEEK_EVERY = 0.5  # s between two questions for the same member
REPLACED_WINDOW = 5.0  # s in which a record may be replaced REPLACED_TIMES by other words than its owner's:
REPLACED_TIMES = 5  # versions compare in a circle, and forged ones could chase each other round it for ever
COMPARE_EVERY = 2.0  # s between two comparisons of books with one member
SETTLE = 1.0  # s after a change of the book in which digests differ only because news is under way
STRANGE_KEPT = 16  # digests unlike ours that are remembered, and since when they are seen
COMPARE_ANYWAY = 10.0  # s without a comparison, after which one is due though all books change all the time


class Gossip:
    def __init__(self, common: Common) -> None:
        self.own, self._links, self._roll = common.own, common.links, common.roll
        self._rng, self._out = common.rng, common.out
        self.due = float("inf")  # when news that waits may leave
        self.book = Book(lambda key: key == self.own or key in self._links)
        self._version = self._rng.randrange(2**32)  # a restart continues nowhere near; see `receive`
        self._changed = float("-inf")
        self._introduced: dict[frozenset[Key], float] = {}
        self._sought: dict[Key, float] = {}
        self._compared: dict[Key, float] = {}
        self._summarized: dict[Key, float] = {}
        self._replaced: dict[Key, tuple[float, int]] = {}  # window's begin and count, by key
        self._waiting: dict[Key, Collection[Key]] = {}  # whose records wait to be told, and who knows them
        self._strange: dict[int, float] = {}  # digests unlike ours, by when they were first seen
        self._odd_since: float | None = float("-inf")  # without a comparison; at the start one is due at once
        self._odd_last = float("-inf")
        self._news = Budget(NEWS_SPACING, NEWS_BURST)
        self._comparisons = Budget(COMPARE_SPACING, COMPARE_BURST)
        self._answers = Budget(COMPARE_SPACING, COMPARE_BURST)
        self._introductions = Budget(INTRODUCE_SPACING, INTRODUCE_BURST)
        self._seeks = Budget(SEEK_SPACING, SEEK_BURST)

    def announce(self, nat: Nat, routes: Iterable[Route], now: float, *, force: bool = False) -> bool:
        """Say how we can be reached, if that changed; whether it did."""
        routes = tuple(routes)
        held = self.book.get(self.own)
        same = (
            held
            and held.nat == nat
            and [(r.kind, r.endpoint) for r in held.routes] == [(r.kind, r.endpoint) for r in routes]
        )
        if same and not force:
            return False
        self._version = (self._version + 1) % 2**32
        record = Record(self.own, self._version, nat, routes)
        self.book.put(record, now)
        self._book_changed(now)
        self._spread([record], without=(), now=now)
        return True

    def greet(self, link: Link, now: float) -> None:
        """A link came up: introduce ourselves, and ask for everybody we miss."""
        own = self.book.aged(self.own, now)
        if own:
            self._send(link, Records((own,)))
        down = (State.NO_CANDIDATE, State.TRYING, State.SILENT, State.DOUBTED)
        missing = self._roll.some(
            keys_asked(self._roll.count(*UP), len(self._links)),
            self._rng,
            lambda other: other is not link and self._is_missing(other, now),
            *down,
        )
        for message in batches([other.member.key for other in missing], Seek):
            self._send(link, message)

    def seek(self, key: Key, now: float, *, asked: int = ASKED) -> None:
        """Ask a few connected members to introduce us to this one."""
        if now - self._sought.get(key, float("-inf")) < SEEK_EVERY or self._is_awaited(self._links[key], now):
            return
        up = self._some(asked, without=(key,), mixed=True)  # the other side asks, too: in another order
        if not up or not self._seeks.allows(now):
            return
        self._sought[key] = now
        for link in up:
            self._send(link, Seek((key,)))

    def introduce(self, seeker: Link, keys: Iterable[Key], now: float) -> None:
        """Bring the seeker together with those of `keys` that we are connected to: tell both at once."""
        theirs = self.book.aged(seeker.member.key, now)
        for_seeker = []
        for key in dict.fromkeys(keys):
            link = self._links.get(key)
            if link is None or link is seeker or not link.is_up or link.misses:
                continue
            if link.endpoint is None or seeker.endpoint is None or not self._may_introduce(seeker, link, now):
                continue
            far, near = link.rtt or 0.0, seeker.rtt or 0.0
            rtt, lead = far + near, (far - near) / 2
            record = self.book.aged(key, now)
            for_seeker.append(Introduction(key, record, link.endpoint, rtt, wait=max(0.0, lead)))
            counterpart = Introduction(seeker.member.key, theirs, seeker.endpoint, rtt, wait=max(0.0, -lead))
            self._send(link, Introduce((counterpart,)))
        for message in batches(for_seeker, Introduce):
            self._send(seeker, message)

    def receive(self, sender: Link, records: Iterable[Record], now: float) -> list[Record]:
        """Take in records; returns those that were new, which are passed on.

        A record older than ours goes back the other way at once. Our own record, in a version that we did
        not make, comes from before our restart or from a liar: a still newer one of ours ends both.
        """
        new, stale = [], []
        for record in records:
            if record.key == self.own:
                self._outbid(record, now)
            elif record.key != sender.member.key and not self._may_replace(record, now):
                continue
            elif self.book.put(record, now):
                new.append(record)
            else:
                held = self.book.get(record.key)
                if held and held.newer_than(record):
                    stale.append(record.key)
        if new:
            self._book_changed(now)
            self._spread(new, without=(sender.member.key,), now=now)
        self._send_records(sender, (each for key in stale if (each := self.book.aged(key, now))))
        return new

    def compare(self, link: Link, digest: int, now: float) -> None:
        """A neighbour's book has this digest: if ours differs, find out where."""
        key = link.member.key
        link.in_step = digest == self.book.digest
        last = self._compared.get(key)
        if link.in_step or (last is not None and now - last < COMPARE_EVERY):
            return
        if len(self._links) > SMALL:
            settling = self._is_under_way(digest, now)
        else:
            settling = last is not None and now - self._changed < SETTLE
        if settling or not self._comparisons.allows(now):
            return
        self._compared[key] = now
        self._odd_since = None
        self._send(link, self.book.summary(reply=True))

    def answer_summary(self, link: Link, summary: Summary, now: float) -> None:
        """Send what differs; not to one who asks again and again, for the answer is much longer."""
        if summary.reply and now - self._summarized.get(link.member.key, float("-inf")) < COMPARE_EVERY:
            return
        if not self._answers.allows(now):
            return
        self._summarized[link.member.key] = now
        self._send_records(link, self.book.differing(summary, now))
        if summary.reply:
            self._send(link, self.book.summary(reply=False))

    def tell(self, now: float) -> None:
        """News that waited leaves, all together."""
        if now < self.due or not self._news.allows(now):
            return
        self.due = float("inf")
        waiting, self._waiting = self._waiting, {}
        records = [record for key in waiting if (record := self.book.aged(key, now))]
        for link in self._some(FANOUT):
            key = link.member.key
            self._send_records(link, (each for each in records if key not in (each.key, *waiting[each.key])))

    def forget(self, key: Key) -> None:
        """The link is down: the next comparison with this member may come at once."""
        self._compared.pop(key, None)
        self._summarized.pop(key, None)

    def drop(self, key: Key) -> None:
        """No member any more: nothing is said of it from now on."""
        self.forget(key)
        self._sought.pop(key, None)
        self._replaced.pop(key, None)
        self.book.drop(key)

    def _outbid(self, record: Record, now: float) -> None:
        held = self.book.get(self.own)
        if held is None or record.version == held.version or not record.newer_than(held):
            return
        self._version = record.version
        self.announce(held.nat, held.routes, now, force=True)

    def _may_replace(self, record: Record, now: float) -> bool:
        """Whether a record that its owner did not bring may take the place of what is held."""
        held = self.book.get(record.key)
        if held is None or not record.newer_than(held):
            return True
        began, count = self._replaced.get(record.key, (now, 0))
        if now - began > REPLACED_WINDOW:
            began, count = now, 0
        self._replaced[record.key] = (began, count + 1)
        return count < REPLACED_TIMES

    def _may_introduce(self, one: Link, other: Link, now: float) -> bool:
        pair = frozenset((one.member.key, other.member.key))
        if now - self._introduced.get(pair, float("-inf")) < INTRODUCE_EVERY:
            return False
        if not self._introductions.allows(now):
            return False
        self._introduced.pop(pair, None)  # so that the oldest pair stands first
        self._introduced[pair] = now
        if len(self._introduced) > INTRODUCTIONS_KEPT:
            del self._introduced[next(iter(self._introduced))]
        return True

    def _is_missing(self, link: Link, now: float) -> bool:
        """Whether others should be asked for the member."""
        return link.is_wanted and not self._is_awaited(link, now)

    def _is_awaited(self, link: Link, now: float) -> bool:
        """In a large mesh, whether the member was introduced a moment ago: as yet nobody knows better."""
        return len(self._links) > SMALL and not link.is_up and now - link.introduced_at < INTRODUCED_LATELY

    def _is_under_way(self, digest: int, now: float) -> bool:
        """Whether a digest may differ from ours only because news is under way.

        In a large mesh somebody has always heard a moment before us or after. So a book is compared with once
        the same difference was seen for SETTLE, at whatever neighbours, while ours did not change.
        """
        since = self._strange.setdefault(digest, now)
        if len(self._strange) > STRANGE_KEPT:
            del self._strange[next(iter(self._strange))]
        if self._odd_since is None or SETTLE < now - self._odd_last < float("inf"):
            self._odd_since = now
        self._odd_last = now
        return now - since < SETTLE and now - self._odd_since < COMPARE_ANYWAY

    def _book_changed(self, now: float) -> None:
        self._changed = now
        self._strange.clear()

    def _spread(self, records: Collection[Record], *, without: Collection[Key], now: float) -> None:
        if not self._news.allows(now):
            self._waiting.update((each.key, without) for each in records)
            self.due = self._news.due(now)
            return
        for link in self._some(FANOUT, without):
            self._send_records(link, (each for each in records if each.key != link.member.key))

    def _some(self, count: int, without: Collection[Key] = (), *, mixed: bool = False) -> list[Link]:
        """Connected members to talk to, at random if there are more."""

        def listens(link: Link) -> bool:
            return link.agent and link.member.key not in without

        return self._roll.some(count, self._rng, listens, *UP, mixed=mixed)

    def _send_records(self, link: Link, records: Iterable[Record]) -> None:
        for message in batches(records, Records):
            self._send(link, message)

    def _send(self, link: Link, message: Message) -> None:
        self._out.append(Send(link.member, message))
