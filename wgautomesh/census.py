"""Who is connected to whom, asked of the members when an operator wants to see the whole mesh. Pure.

Link states do not ride in the gossip: they are asked for, one member after the other, and forgotten. What a
member says of its links is shown as its word and used for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from .book import Book
from .common import Common
from .effects import Send
from .gossip import Gossip
from .link import Link
from .messages import AskLinks, Kind, Links, LinkWord, Path, batches
from .standpoint import Standpoint
from .values import Key

MAX_ASKED = 200  # members asked; a picture of more is none
MAX_LINKS = 256  # links told in an answer: ten datagrams, so that asking is a poor way to make us send
ASKED_AT_ONCE = 8  # members; more answers at a time would overflow a socket's buffer
PACE = 0.05  # s between these
PATIENCE = 1.0  # s after the last question: who has not answered by then is shown as silent
FRESH = 2.0  # s; what was asked for a moment ago serves another operator as well
ANSWER_EVERY = 1.0  # s between two answers to one member
ANSWERS = 20  # in ANSWERS_WINDOW s, to all: a mesh of operators must not make us its mouthpiece
ANSWERS_WINDOW = 1.0


def path_of(link: Link, standpoint: Standpoint, book: Book) -> Path | None:
    """How packets get to the member; None while the link is not up."""
    if not link.is_up or link.endpoint is None:
        return None
    known = link.candidates.get(link.endpoint)
    if (known and known.kind is Kind.LAN) or standpoint.is_on_link(link.endpoint.ip):
        return Path.LAN
    record = book.get(link.member.key)
    routes = record.routes if record else ()
    mapped = any(each.kind is Kind.MAPPED and each.endpoint == link.endpoint for each in routes)
    return Path.MAPPED if mapped or (known and known.kind is Kind.MAPPED) else Path.DIRECT


class Census:
    def __init__(self, common: Common, gossip: Gossip) -> None:
        self.heard: dict[Key, dict[Key, LinkWord]] = {}  # by the member that said so
        self._links, self._standpoint, self._out = common.links, common.standpoint, common.out
        self._gossip = gossip
        self.number = common.rng.randrange(2**32)  # of the question last asked
        self._to_ask: list[Key] = []
        self._missing: dict[Key, int] = {}  # links of each asked member yet to be told; -1: all
        self._began = self._next = self._ends = float("-inf")
        self._answered: dict[Key, float] = {}
        self._window = (float("-inf"), 0)  # its begin, and the answers in it

    # -- asking ---------------------------------------------------------------------------------------

    def ask(self, now: float) -> float | None:
        """Go on asking, or begin; when to come again, None once all is heard that will be."""
        if now > max(self._began + FRESH, self._ends):
            self._begin(now)
        if self._to_ask and now >= self._next:
            asked, self._to_ask = self._to_ask[:ASKED_AT_ONCE], self._to_ask[ASKED_AT_ONCE:]
            self._out += [
                Send(self._links[key].member, AskLinks(self.number)) for key in asked if key in self._links
            ]
            self._next, self._ends = now + PACE, now + PATIENCE
        if self._to_ask:
            return self._next
        return min(now + PACE, self._ends) if self._missing and now < self._ends else None

    def _begin(self, now: float) -> None:
        self.number = (self.number + 1) % 2**32
        self.heard.clear()
        self._to_ask = [key for key, link in self._links.items() if link.is_up and link.agent][:MAX_ASKED]
        self._missing = dict.fromkeys(self._to_ask, -1)
        self._began = self._next = now
        self._ends = now + PATIENCE

    def receive(self, link: Link, message: AskLinks | Links, now: float) -> None:
        """A question, or a part of an answer, from the member of this link."""
        if isinstance(message, AskLinks):
            self._answer(link, message.number, now)
            return
        key = link.member.key
        if message.number != self.number or key not in self._missing:
            return
        words = self.heard.setdefault(key, {})
        told = {each.key: each for each in message.links if self._belongs(each.key)}
        words.update(list(told.items())[: MAX_LINKS - len(words)])
        missing = message.total if self._missing[key] < 0 else self._missing[key]
        self._missing[key] = missing - len(message.links)
        if self._missing[key] <= 0:
            del self._missing[key]

    def drop(self, key: Key) -> None:
        """No member any more: nothing is shown of it, by its own word or by others'."""
        for of in (self.heard, self._missing, self._answered):
            of.pop(key, None)
        for words in self.heard.values():
            words.pop(key, None)

    def _belongs(self, key: Key) -> bool:
        return key in self._links or key == self._gossip.own

    # -- answering ------------------------------------------------------------------------------------

    def _answer(self, link: Link, number: int, now: float) -> None:
        began, count = self._window
        if now - began > ANSWERS_WINDOW:
            began, count = now, 0
        if count >= ANSWERS or now - self._answered.get(link.member.key, float("-inf")) < ANSWER_EVERY:
            return
        self._window = (began, count + 1)
        self._answered[link.member.key] = now
        words = list(self._own_words())[:MAX_LINKS]
        for message in batches(words, lambda part: Links(number, len(words), part)):
            self._out.append(Send(link.member, message))

    def _own_words(self) -> Iterator[LinkWord]:
        """Our links, those that are up first: they are what a picture of a large mesh shows."""
        for key, link in sorted(self._links.items(), key=lambda each: not each[1].is_up):
            yield LinkWord(
                key, path_of(link, self._standpoint, self._gossip.book), link.rtt if link.is_up else None
            )
