"""The machine's interfaces as last listed, and listed anew when the kernel says that something changed."""

from __future__ import annotations

import logging
import selectors
from collections.abc import Callable, Mapping

from .budget import Budget
from .interface import RETRY
from .log import Once
from .watch import Gateway, Interface, Watch

log = logging.getLogger(__name__)

LIST_SPACING, LIST_BURST = 0.2, 10  # s between two listings, on average, and how many at once: who sends
# router advertisements on the LAN, or starts containers, changes addresses and routes as often as he likes


class Survey:
    """`changed` is called when the kernel tells of a change, `listed` with the time after every listing."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        changed: Callable[[float], None],
        listed: Callable[[float], None],
    ) -> None:
        self.interfaces: Mapping[int, Interface] = {}  # by index
        self.gateways: Mapping[int, Gateway] = {}  # by IP version; empty unless wanted
        self.wants_gateways = False
        self._selector = selector
        self._changed = changed
        self._listed = listed
        self._once = Once(log)
        self._watch: Watch | None = None
        self._due = float("inf")
        self._budget = Budget(LIST_SPACING, LIST_BURST)

    def start(self, at: float) -> None:
        """Begin, if that is not done yet: not before WireGuard is configured, as it takes 0.1 s."""
        if self._watch is None:
            try:
                self._watch = Watch()
            except OSError as error:
                self._once.say("watch", f"cannot follow the network: {error}; trying again")
                return
            self._selector.register(self._watch, selectors.EVENT_READ, self._hear)
            self.list(at)

    def next_due(self) -> float:
        return self._due

    def turn(self, at: float) -> None:
        if at >= self._due:
            self.list(at)
            self._changed(at)

    def list(self, at: float) -> None:
        """Look at all interfaces now; nothing happens before `start`."""
        self._due = float("inf")
        if self._watch is None:
            return
        try:
            self.interfaces = self._watch.interfaces()
            self.gateways = self._watch.gateways() if self.wants_gateways else {}
        except OSError as error:  # the answer was torn too often: containers come and go
            self._once.say("survey", f"cannot list the interfaces: {error}; trying again")
            self._due = at + RETRY
            return
        self._once.over("survey")
        self._listed(at)

    def _hear(self, at: float) -> None:
        if self._watch is None:
            return
        try:
            changed = self._watch.drain()
        except OSError:  # something was lost: look for ourselves
            changed = True
        if changed and self._budget.allows(at):
            self.list(at)
            self._changed(at)
        elif changed:
            self._due = min(self._due, self._budget.due(at))
