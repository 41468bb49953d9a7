"""Where one member might be reached: what was said, by whom, how fresh, and in which order to try it.

Pure. A candidate is only a hint: it costs an attempt, and never touches a link that works.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_network

from .messages import Kind
from .values import Endpoint, IPAddress, IPInterface, Key, Member, host_of

MAX_CANDIDATES = 12  # a member; more hints than this only spend attempts on noise or lies
MAX_CONFIGURED = 6  # addresses of one configured name
ADDRESSES_KEPT = 4096  # whose kind is remembered: all members' are looked at again and again
MAX_PER_SOURCE = 2  # of one kind; a member that lies about another cannot crowd out what others say

_PRIVATE = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8",  # RFC 1918
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",  # RFC 3927
        "100.64.0.0/10",  # RFC 6598, behind carrier-grade NAT
        "fc00::/7",  # RFC 4193
        "fe80::/10",  # RFC 4291
    )
)


@lru_cache(maxsize=ADDRESSES_KEPT)
def is_private(ip: IPAddress) -> bool:
    """Whether the address means different hosts in different places."""
    return any(ip in network for network in _PRIVATE if network.version == ip.version)


def lacks_scope(endpoint: Endpoint) -> bool:
    """Whether the address is link-local and does not say on which link."""
    ip = endpoint.ip
    return isinstance(ip, IPv6Address) and ip.is_link_local and ip.scope_id is None


def refusal(endpoint: Endpoint, own: Collection[IPInterface]) -> str | None:  # noqa: PLR0911 - a list of reasons
    """Why this endpoint can be nobody's, or None. `own` are the addresses of our own interfaces."""
    ip = endpoint.ip
    if endpoint.port == 0:
        return "port 0"
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        return "IPv4 written as IPv6"
    if lacks_scope(endpoint):
        return "link-local, and nobody knows on which link"
    if not _is_of_a_host(ip):
        return "not the address of a host"
    for each in own:
        if ip == host_of(each):
            return "our own address"
        network = each.network
        if ip.version == 4 and network.prefixlen < 31 and ip == network.broadcast_address:
            return "a broadcast address"
    return None


@lru_cache(maxsize=ADDRESSES_KEPT)
def _is_of_a_host(ip: IPAddress) -> bool:
    return not (ip.is_multicast or ip.is_loopback or ip.is_unspecified or _is_reserved(ip))


def _is_reserved(ip: IPAddress) -> bool:
    # 240.0.0.0/4 with the limited broadcast address (RFC 1112, RFC 919), and 0.0.0.0/8 (RFC 1122)
    return isinstance(ip, IPv4Address) and (ip.packed[0] >= 240 or ip.packed[0] == 0)


@dataclass(frozen=True, slots=True)
class Candidate:
    """`confirmed` is when the endpoint was last known to be right, on this machine's clock (s).

    `source` is the member that told us; None is ourselves: our device, configuration, state file or LAN.
    `answered` says that the member was once reached here.
    """

    endpoint: Endpoint
    kind: Kind
    confirmed: float
    source: Key | None = None
    rtt: float = 0.0  # s, an estimate, 0 is unknown
    answered: bool = False

    @property
    def on_lan(self) -> bool:
        """Whether the member proved to us that it has this address on our LAN."""
        return self.kind is Kind.LAN and self.source is None

    @property
    def preference(self) -> int:
        """Of several on LANs, which first: both sides choose alike."""
        return self.endpoint.ip.version

    @property
    def learned_from(self) -> str:
        if self.source is not None:
            return "a port mapping" if self.kind is Kind.MAPPED else "gossip"
        return _ORIGIN[self.kind]


def configured(member: Member, now: float) -> list[Candidate]:
    """What a member's source names as addresses; host names are resolved first."""
    fixed = [each for each in member.endpoints if isinstance(each, Endpoint)]
    return [Candidate(each, Kind.CONFIGURED, now) for each in fixed]


_ORIGIN = {
    Kind.LAN: "the LAN",
    Kind.OBSERVED: "its own handshake",
    Kind.MAPPED: "a port mapping",
    Kind.CONFIGURED: "the configuration",
    Kind.RESTORED: "the state file",
}


_RANK = {
    Kind.MAPPED: 1,  # open to all; where a member was observed may be open only to who observed it
    Kind.OBSERVED: 2,
    Kind.LAN: 3,  # a public address on an interface may be filtered
    Kind.CONFIGURED: 4,
    Kind.RESTORED: 5,
}


class Candidates:
    """The candidates of one member, each endpoint once."""

    __slots__ = ("_all",)

    def __init__(self) -> None:
        self._all: tuple[Candidate, ...] = ()  # few; a dict would take 160 bytes of each link

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def get(self, endpoint: Endpoint) -> Candidate | None:
        return next((each for each in self._all if each.endpoint == endpoint), None)

    def scoped(self, endpoint: Endpoint | None) -> Endpoint | None:
        """The endpoint as WireGuard shows it, with the scope we know: wireguard-go loses it."""
        if endpoint is None or not lacks_scope(endpoint):
            return endpoint
        known = (each.endpoint for each in self if each.endpoint.pack() == endpoint.pack())
        return next((each for each in known if not lacks_scope(each)), endpoint)

    def offer(self, new: Candidate) -> bool:
        """Take in a hint; whether it is news: an endpoint not known before, or now known to be better."""
        old = self.get(new.endpoint)
        if old is not None:
            return self._merge(old, new)
        alike = (each for each in self if each.source == new.source and each.kind == new.kind)
        peers = [each for each in alike if not each.answered]  # what once worked is nobody's to replace
        limit = MAX_CONFIGURED if new.kind is Kind.CONFIGURED else MAX_PER_SOURCE
        if len(peers) >= limit:
            oldest = min(peers, key=lambda each: each.confirmed)
            if oldest.confirmed > new.confirmed:
                return False
            self._replace(oldest)
        elif len(self) >= MAX_CANDIDATES and not self._evict(new):
            return False
        self._all += (new,)
        return True

    def withdraw(self, mapped: Iterable[Endpoint]) -> None:
        """Only these are mapped now. What was before is closed, and news if it should be opened again."""
        mapped = set(mapped)
        for each in [each for each in self if each.kind is Kind.MAPPED and each.endpoint not in mapped]:
            self._replace(each, *([replace(each, kind=Kind.OBSERVED)] if each.answered else []))

    def confirm(self, endpoint: Endpoint, now: float) -> None:
        """The member answers at this endpoint: the best knowledge there is."""
        old = self.get(endpoint)
        proved = replace(old or Candidate(endpoint, Kind.OBSERVED, now), confirmed=now, answered=True)
        if old:
            self._replace(old, proved)
            return
        if len(self) >= MAX_CANDIDATES:
            self._replace(min(self, key=lambda each: (each.answered, each.source is None, each.confirmed)))
        self._all += (proved,)

    def forget(self, endpoint: Endpoint) -> None:
        if known := self.get(endpoint):
            self._replace(known)

    def ordered(self, own_public: Collection[IPAddress], theirs: Collection[IPAddress]) -> list[Candidate]:
        """What to try, best first.

        `own_public` and `theirs` are the addresses others see us and the member at. If one is common, both
        are behind the same NAT and a private address of the member is on our LAN; if not, 192.168.1.5 is
        somebody else's printer, and left out unless we know better ourselves.
        """
        same_site = bool(set(own_public) & set(theirs))
        no_nat_between = any(is_private(ip) for ip in own_public)

        def rank(each: Candidate) -> int | None:
            private = is_private(each.endpoint.ip)
            if private and each.source is not None and not each.answered and not same_site:
                return 6 if no_nat_between else None
            if each.on_lan:
                return each.preference - 7  # before all others
            if each.kind is Kind.LAN and private:
                return 0
            if each.answered:
                return 2
            return _RANK[each.kind]

        ranked = [(place, -each.confirmed, each) for each in self if (place := rank(each)) is not None]
        return [each for _, _, each in sorted(ranked, key=lambda entry: entry[:2])]

    def worth_keeping(self) -> Iterable[Candidate]:
        """What to remember across a restart, best first: what worked, then what others said."""
        kept = [each for each in self if each.kind is not Kind.CONFIGURED or each.answered]
        return sorted(kept, key=lambda each: (not each.answered, -each.confirmed))

    def _merge(self, old: Candidate, new: Candidate) -> bool:
        better = new.kind is Kind.LAN and new.source is None and (old.kind, old.source) != (Kind.LAN, None)
        better = better or (new.kind is Kind.MAPPED and old.kind is Kind.OBSERVED)
        kind, source = (new.kind, new.source) if better else (old.kind, old.source)
        if old.kind is Kind.RESTORED:
            kind = new.kind  # somebody confirms it; it stays ours, so that none who repeats it can replace it
        merged = Candidate(
            endpoint=new.endpoint,
            kind=kind,
            source=source,
            confirmed=max(old.confirmed, new.confirmed),
            rtt=new.rtt or old.rtt,
            answered=old.answered or new.answered,
        )
        self._replace(old, merged)
        return better

    def _evict(self, new: Candidate) -> bool:
        hearsay = [each for each in self if each.source is not None and not each.answered]
        if not hearsay:
            return False
        oldest = min(hearsay, key=lambda each: each.confirmed)
        if new.source is not None and oldest.confirmed > new.confirmed:
            return False
        self._replace(oldest)
        return True

    def _replace(self, old: Candidate, *new: Candidate) -> None:
        place = self._all.index(old)
        self._all = (*self._all[:place], *new, *self._all[place + 1 :])
