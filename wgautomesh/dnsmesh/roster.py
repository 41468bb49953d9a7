"""Who belongs by the word of the DNS, over time: when to ask again, and what a bad answer may not undo. Pure.

The rule behind it all: only the DNS saying so clearly removes anybody. Whatever else happens to an answer, a
member keeps its last known state.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from ..values import IPAddress, Key
from .kept import Kept
from .zone import Complaint, Host, Zone, has_errors, host_names, read_host, smallest_ttl

TTL_LEAST = 30.0  # s; a zone that says less is taken to say this
TTL_MOST = 3600.0  # s
# Shares by which a refresh comes early: at random, so that nodes do not all ask at once, and in time for a
# new member that waits: its WireGuard knocks every 5 s, and it is to be in a TTL and 2 s after it was added.
EARLY = 0.1, 0.2
RETRY_FIRST = 5.0  # s after a refresh that failed, doubled each time
RETRY_MOST = 300.0  # s


class Roster:
    """The hosts of the mesh `name`. Times are in s on the caller's clock."""

    def __init__(self, name: str, port: int, *, rng: Random, now: float, kept: Kept | None = None) -> None:
        self.name = name
        self.hosts: dict[str, Host] = {}
        self.due = now  # when to ask next
        self.answered = False  # the DNS has spoken since we started
        self._port = port
        self._rng = rng
        self._ttl = TTL_LEAST
        self._taken = float("-inf")
        self._failures = 0  # refreshes in a row in which some question was not answered
        self._unanswered = False  # the last time not even who belongs
        self._empty_since: float | None = None
        self._standing: list[Complaint] = []  # as of the last list of members: nothing newer is known
        if kept and kept.name == name:
            self.hosts = {host.name: host for host in kept.hosts}
            self._ttl = min(max(kept.ttl, TTL_LEAST), TTL_MOST)

    def take(self, zone: Zone, now: float) -> list[Complaint]:
        """Take in what a refresh brought; what is wrong with it. Sets `due`."""
        self._taken = now
        self._failures = self._failures + 1 if has_errors(zone) else 0
        self._unanswered = bool(zone.names.error)
        if zone.names.error:
            self.due = now + self._early(self._retry())
            text = f"TXT of {self.name}: {zone.names.error}; {self._unchanged()}"
            return [Complaint(self.name, text), *self._standing]
        self.answered = True
        names, wrong = host_names(zone.names.values)
        complaints = [Complaint(f"{self.name} {text}", f"{self.name}: {text}") for text in wrong]
        if not names and not wrong:
            return [*self._take_empty(now), *self._standing]
        self._empty_since = None
        ttl = smallest_ttl(zone)
        if ttl is not None:
            self._ttl = min(max(float(ttl), TTL_LEAST), TTL_MOST)
        self.due = now + self._early(min(self._ttl, self._retry() if self._failures else TTL_MOST))
        fresh: dict[str, Host] = {}
        for name in names:
            known = self.hosts.get(name)
            host, wrong_with_host = read_host(name, zone.hosts[name], self._port, known)
            if host or known:
                fresh[name] = host or self.hosts[name]
            fate = "" if host else "; it stays as it was" if known else "; it is left out"
            complaints += [Complaint(f"{name} {text}", f"{name}: {text}{fate}") for text in wrong_with_host]
        if wrong:  # one of those that are not named now may be meant
            fresh = {name: host for name, host in self.hosts.items() if name not in fresh} | fresh
        self.hosts, disputes = settle(fresh, self.hosts, self.name.partition(".")[2])
        self._standing = complaints + disputes
        return self._standing

    def hurry(self, now: float) -> None:
        """The network changed: what failed may work now."""
        if self._unanswered:
            self.due = min(self.due, max(now, self._taken + RETRY_FIRST))

    def keep(self) -> Kept:
        return Kept(self.name, self._ttl, tuple(self.hosts.values()))

    def _take_empty(self, now: float) -> list[Complaint]:
        """Nobody is named. If somebody was, that may be an accident: believed if so a TTL later, too."""
        self.due = now + self._ttl
        if not self.hosts:
            return [Complaint(self.name, f"{self.name} names no members")]
        if self._empty_since is None:
            self._empty_since = now
        if now - self._empty_since < self._ttl:
            self.due = self._empty_since + self._ttl
            text = f"{self.name} names nobody any more; unless that changes, all are removed a TTL later"
            return [Complaint(self.name, text)]
        self.hosts, self._standing = {}, []
        return [Complaint(self.name, f"{self.name} still names nobody: its members are removed")]

    def _retry(self) -> float:
        return float(min(RETRY_FIRST * 2.0 ** min(self._failures - 1, 10), RETRY_MOST))

    def _early(self, seconds: float) -> float:
        return seconds * (1.0 - self._rng.uniform(*EARLY))

    def _unchanged(self) -> str:
        count = len(self.hosts)
        return f"going on with {count} member{'' if count == 1 else 's'} as last known"


def settle(
    fresh: Mapping[str, Host], before: Mapping[str, Host], domain: str
) -> tuple[dict[str, Host], list[Complaint]]:
    """Give every key and address to one host: to the one that had it, else to one of the mesh's own domain.

    A zone of somebody else's must not take over an address by naming it. Who loses a dispute goes on without
    that address, or as it was before.
    """
    order = sorted(fresh, key=lambda name: (name not in before, not name.endswith(f".{domain}"), name))
    keys: dict[Key, str] = {}
    holders: dict[IPAddress, str] = {}
    for name in order:
        host, old = fresh[name], before.get(name)
        if old and old.key == host.key:
            keys.setdefault(host.key, name)
        for address in set(host.addresses) & set(old.addresses if old else ()):
            holders.setdefault(address, name)
    settled: dict[str, Host] = {}
    complaints = []
    for name in order:
        for host in dict.fromkeys((fresh[name], before.get(name, fresh[name]))):
            if keys.setdefault(host.key, name) != name:
                text = f"{name}: its key is that of {keys[host.key]} already"
                complaints.append(Complaint(f"{name} key", text))
                continue
            mine = tuple(each for each in host.addresses if holders.setdefault(each, name) == name)
            for each in host.addresses:
                if holders[each] != name:
                    text = f"{name}: its address {each} is that of {holders[each]} already"
                    complaints.append(Complaint(f"{name} {each}", text))
            if mine:
                settled[name] = Host(name, host.key, mine, host.endpoints)
                break
    return settled, complaints
