"""Which endpoints of a member are worth trying, and in which order. Pure."""

from __future__ import annotations

from .book import Book
from .candidates import Candidate
from .gate import Gate
from .link import Link
from .messages import Kind
from .standpoint import Standpoint
from .values import Endpoint


class Choice:
    def __init__(self, book: Book, standpoint: Standpoint, gate: Gate) -> None:
        self._book = book
        self._standpoint = standpoint
        self._gate = gate

    def refuses(self, endpoint: Endpoint) -> bool:
        """Whether no member can be there."""
        return self._standpoint.refuses(endpoint, self._gate.routing)

    def order(self, link: Link) -> list[Candidate]:
        """What is worth trying, best first."""
        record = self._book.get(link.member.key)
        routes = record.routes if record else ()
        public = [route.endpoint.ip for route in routes if route.kind is Kind.OBSERVED]
        order = link.candidates.ordered(self._standpoint.public(), public)
        return [each for each in order if not self.refuses(each.endpoint)]
