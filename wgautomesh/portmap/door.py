"""One lease made real: its sockets, its UPnP program, and its lines in the log."""

from __future__ import annotations

import logging
import selectors
from collections.abc import Callable
from random import SystemRandom

from ..log import Once
from ..values import Endpoint
from .actions import Complaint, Datagram, EndUpnp, Opened, Trouble, Upnp, UpnpAnswer, Wish
from .helper import Helper
from .igd import Request
from .lease import LIFETIME, Lease
from .sockets import Place, Sockets

log = logging.getLogger(__name__)

COMPLAIN_EVERY = 600.0  # s between lines about trouble: a router may find new words, or new trouble, for ever
REPORT_EVERY = 60.0  # s between lines about what is open


class Door:
    """`changed` is called when `endpoint` or `complaint` became another."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        place: Place,
        wish: Wish,
        now: float,
        *,
        usual: Callable[[Door], bool],
        changed: Callable[[float], None],
    ) -> None:
        """`usual`: whether a router that does not answer is not worth a line. Raises OSError."""
        self.place = place
        self.endpoint: Endpoint | None = None  # where strangers reach us
        self.complaint: Complaint | None = None  # what is wrong, if something is
        self._usual = usual
        self._changed = changed
        self._once = Once(log)
        self._complained = self._reported = float("-inf")
        self._sockets = Sockets(selector, place, self._answered, self._announced, self._notified)
        self._helper = Helper(selector, self._upnp_done)
        self._lease = Lease(wish, SystemRandom(), now)
        self._act(now)

    def turn(self, now: float) -> None:
        self._sockets.tick(now)
        self._helper.tick(now)
        self._lease.tick(now)
        self._act(now)

    def next_due(self) -> float:
        return min(self._sockets.due, self._helper.due, self._lease.next_tick())

    def woke(self, now: float) -> None:
        """We were suspended: what was open may be closed."""
        self._lease.woke(now)
        self._act(now)

    def leave(self, now: float) -> None:
        """Release the mapping; `close` when it `is_busy` no more."""
        self._lease.stop()
        self.endpoint = self.complaint = None
        self._act(now)

    @property
    def is_busy(self) -> bool:
        """Whether the UPnP program runs."""
        return self._helper.due < float("inf")

    def close(self, *, wait: bool = False) -> None:
        """`wait`, 2 s at most, until a release by UPnP is done."""
        if wait:
            self._helper.farewell()
        self._helper.end()
        self._sockets.close()

    def state(self) -> str:
        """How things stand, in words; "" where a router that does not answer is usual."""
        if self.endpoint and self._lease.way:
            return f"{self.endpoint} leads here, by {self._lease.way.value}"
        if self.complaint is None:
            return f"asking {self.place.router}"
        silent = self.complaint.trouble is Trouble.SILENT
        return "" if silent and self._usual(self) else self.complaint.text

    # -- events ---------------------------------------------------------------------------------------

    def _answered(self, data: bytes, now: float) -> None:
        self._lease.receive(data, now)
        self._act(now)

    def _announced(self, data: bytes, now: float) -> None:
        self._lease.announced(data, now)
        self._act(now)

    def _notified(self, data: bytes, now: float) -> None:
        if data.startswith(b"NOTIFY") and b"ssdp:alive" in data:
            self._lease.hint(now)

    def _upnp_done(self, answer: UpnpAnswer, now: float) -> None:
        self._lease.upnp(answer, now)
        self._act(now)

    # -- actions --------------------------------------------------------------------------------------

    def _act(self, now: float) -> None:
        for action in self._lease.take():
            match action:
                case Datagram(data):
                    self._sockets.send(data)
                case Upnp():
                    self._helper.run(self._request(action), now)
                case EndUpnp():
                    self._helper.end()
                case Opened(endpoint):
                    self.endpoint = endpoint
                    if endpoint:
                        self.complaint = None
                        self._report(now)
                    self._changed(now)
                case Complaint():
                    self.complaint = action
                    self._complain(action, now)
                    self._changed(now)

    def _request(self, errand: Upnp) -> Request:
        wish = self._lease.wish
        return Request(
            router=str(wish.router),
            ip=str(wish.internal.ip),
            port=wish.internal.port,
            external_port=errand.port,
            lifetime=LIFETIME,
            url=errand.url,
            release=errand.release,
        )

    def _report(self, now: float) -> None:
        if now - self._reported >= REPORT_EVERY:
            self._reported = now
            self._once.say("open", f"port mapping: {self.state()}", logging.INFO)
            for trouble in Trouble:
                self._once.over(trouble.name)

    def _complain(self, complaint: Complaint, now: float) -> None:
        """Say each kind of trouble once, and no two of them soon one after the other."""
        if not self._once.said(complaint.trouble.name) and now - self._complained >= COMPLAIN_EVERY:
            if complaint.trouble is Trouble.SILENT and self._usual(self):
                return
            self._complained = now
            self._once.say(complaint.trouble.name, f"port mapping: {complaint.text}")
