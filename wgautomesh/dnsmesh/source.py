"""The DNS as a source of members: asks in a thread when it is time, and tells the operator what is wrong.

Nothing here waits: when `fileno` is readable, `hear` takes in what was answered.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Sequence
from random import Random

from ..log import Once
from ..values import Device, IPInterface, Key, Member
from .kept import Kept
from .members import members, merge
from .records import records
from .roster import Roster
from .settings import Settings
from .zone import Answer, Complaint, Zone, by_number, host_name

log = logging.getLogger(__name__)

NAMED = 10  # hosts in one line of the log
SWITCH = 0.0005  # s the main loop waits for the interpreter at most, at each system call, while we ask


class Source:
    """Members of the mesh that `settings` name. `kept` is what an earlier run knew. Times in s."""

    def __init__(self, settings: Settings, kept: Kept | None, *, rng: Random, now: float) -> None:
        self.settings = settings
        self._roster = Roster(settings.name, settings.port, rng=rng, now=now, kept=kept)
        self._once = Once(log)
        self._complained: dict[str, set[str]] = {}  # what about, by when we look
        self._told = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._zones: queue.SimpleQueue[Zone] = queue.SimpleQueue()
        self._asking = False
        self._closing = threading.Lock()  # nobody tells a descriptor that is another's by now
        self._closed = False

    def fileno(self) -> int:
        return self._told

    def close(self) -> None:
        """Waits for nobody: the thread ends with its questions, or with the process."""
        with self._closing:
            self._closed = True
            os.close(self._told)

    def next_due(self) -> float:
        return float("inf") if self._asking else self._roster.due

    def turn(self, now: float) -> None:
        if now >= self.next_due():
            self._asking = True
            threading.Thread(target=self._ask, name="dns", daemon=True).start()

    def hurry(self, now: float) -> None:
        """The network changed: what failed may work now."""
        self._roster.hurry(now)

    def hear(self, now: float) -> None:
        """Take in what was answered; `members` may be others afterwards."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._told)
        while not self._zones.empty():
            self._asking = False
            before = set(self._roster.hosts)
            self._complain("zone", self._roster.take(self._zones.get(), now))
            after = self._roster.hosts.keys()
            for names, what in ((after - before, "new"), (before - after, "no more")):
                if names:
                    log.info("members by %s, %s: %s", self.settings.name, what, _some(sorted(names)))

    def members(self, file: Sequence[Member], own: Key, mine: Sequence[IPInterface]) -> tuple[Member, ...]:
        """The file's members and ours. `mine` are the addresses of our own interface."""
        found, wrong = members(
            self._roster.hosts.values(), own, mine, direct_sites=self.settings.direct_sites
        )
        merged, disputes = merge(file, found)
        self._complain("members", [*wrong, *disputes])
        return merged

    def check_self(self, device: Device, mine: Sequence[IPInterface]) -> None:
        """Say so if the DNS does not know us as we are, and what would mend it."""
        if not self._roster.answered or device.key is None:
            return
        name = self.settings.name
        host = next((each for each in self._roster.hosts.values() if each.key == device.key), None)
        lacking = [
            each.ip for each in mine if not each.ip.is_link_local and host and each.ip not in host.addresses
        ]
        level = logging.WARNING
        if host is None:
            level = logging.ERROR
            allowed = sorted((each.ip for each in mine if not each.ip.is_link_local), key=by_number)
            lines = records(
                guess_host(name), name, device.key, allowed, (), device.listen_port, self.settings.port
            )
            text = f"this node's key is not in {name}, so nobody there knows it; add these records:"
        elif lacking:
            lines = records(host.name, None, device.key, lacking, (), self.settings.port, self.settings.port)[
                1:
            ]
            text = f"{name} does not give all addresses of this node, {host.name}; add these records:"
        else:
            text, lines = "", []
        self._complain("self", [Complaint(line, line) for line in (text, *lines) if line], level)

    def keep(self) -> Kept:
        return self._roster.keep()

    def _ask(self) -> None:
        began = time.monotonic()
        usual = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)
        try:
            from .queries import fetch  # noqa: PLC0415 - 0.1 s of imports, here where it holds up nobody

            zone = fetch(self.settings.name, self.settings.resolver)
            log.debug("asked for %s in %.2f s", self.settings.name, time.monotonic() - began)
        except Exception as error:  # whatever it is, the next refresh may work, and the mesh goes on
            log.debug("asking for %s failed", self.settings.name, exc_info=True)
            zone = Zone(Answer(error=f"{type(error).__name__}: {error}"))
        finally:
            sys.setswitchinterval(usual)
        self._zones.put(zone)
        with self._closing:
            if not self._closed:
                os.eventfd_write(self._told, 1)

    def _complain(self, when: str, complaints: Sequence[Complaint], level: int = logging.WARNING) -> None:
        topics = {f"{when} {each.about}" for each in complaints}
        for topic in self._complained.get(when, set()) - topics:
            self._once.over(topic)
        self._complained[when] = topics
        for each in complaints:
            self._once.say(f"{when} {each.about}", f"DNS: {each.text}", level)


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def guess_host(mesh: str) -> str:
    """What this machine might be called in the mesh's domain."""
    name = socket.gethostname().partition(".")[0]
    domain = mesh.partition(".")[2]
    return host_name(f"{name}.{domain}") or f"node.{domain}"
