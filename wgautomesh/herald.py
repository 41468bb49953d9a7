"""Tells the mesh how we can be reached, when that changes, and not too often. Pure."""

from __future__ import annotations

from .candidates import refusal
from .common import Common
from .effects import Level, Say
from .gossip import Gossip
from .values import Endpoint, Key

ANNOUNCE_EVERY = 1.0  # s between versions of our own record: all members hear of each
ANNOUNCE_BURST = 3  # versions that may follow each other at once


class Herald:
    """Our own record, kept in line with our standpoint. Times in s."""

    def __init__(self, common: Common, gossip: Gossip) -> None:
        self.port = 0  # that WireGuard listens on; 0 while unknown
        self.due = float("inf")  # when a change that came too soon is to be announced
        self._standpoint, self._out = common.standpoint, common.out
        self._gossip = gossip
        self._budget = float("-inf")

    def listening(self, port: int, now: float) -> None:
        """The port as just read."""
        moved = self.port not in (0, port)
        self.port = port
        if moved:
            self.announce(now)

    def seen(self, observer: Key, sees: Endpoint | None, now: float) -> bool:
        """A member says where it sees us; whether that is another address than what we told."""
        if sees is None or refusal(sees, ()) is not None or not self._standpoint.seen(observer, sees, now):
            return False
        self.announce(now)
        own = self._gossip.book.get(self._gossip.own)
        return own is not None and all(each.endpoint.ip != sees.ip for each in own.routes)

    def announce(self, now: float) -> None:
        """Make a new version of our record, if anything changed."""
        self.due = float("inf")
        budget = max(self._budget, now) + ANNOUNCE_EVERY
        if not self.port:
            return
        if budget - now > ANNOUNCE_BURST * ANNOUNCE_EVERY:
            self.due = budget - ANNOUNCE_BURST * ANNOUNCE_EVERY
            return
        nat, routes = self._standpoint.nat(self.port), self._standpoint.routes(self.port)
        if self._gossip.announce(nat, routes, now):
            self._budget = budget
            where = ", ".join(str(route.endpoint) for route in routes)
            self._out.append(Say(Level.DEBUG, f"we can be reached at {where or 'no known endpoint'}"))
