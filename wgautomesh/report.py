"""What the operator may know, as plain data: the answers of the control socket (docs/control.schema.json).

Pure: a mesh goes in, and dictionaries fit for JSON come out, one peer at a time where there may be many, so
that nobody has to wait for a large answer to be made. Times are ages in s, ready to be read at any clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

from .candidates import Candidate
from .census import path_of
from .link import Link, State
from .mesh import Mesh
from .messages import Kind, Nat, Path
from .reasons import Circumstances, circumstances, reason
from .values import Device, Endpoint, Member, Peer, key_text

VERSION = 1  # of all answers; a change that old readers would get wrong makes it greater
MAX_PREFIX = 44  # characters of a key that somebody may type


class Gossip(TypedDict):
    port: int
    open: bool  # our socket
    sealed: bool  # with a secret
    in_step: int  # connected members whose book is like ours
    behind: int  # connected members whose book differs, or who have not said yet
    silent: int  # connected members without an agent


class Head(TypedDict):
    """What comes before the peers in the answer to `status`."""

    version: int
    kind: str
    interface: str
    waiting: str | None  # what the agent waits for, in words
    key: str | None
    name: str | None
    address: str | None
    listen_port: int | None
    uptime: float
    public: list[str]
    nat: str
    mapping: str | None
    clock_back: float
    gossip: Gossip
    peers_total: int
    peers_connected: int


class PeerRow(TypedDict):
    key: str
    name: str | None
    address: str
    state: str
    since: float
    path: str | None
    endpoint: str | None
    rtt: float | None
    heard: float | None
    rx_bytes: int
    tx_bytes: int
    agent: bool | None
    nat: str
    reason: str
    origin: str


class CandidateRow(TypedDict):
    endpoint: str
    kind: str
    age: float
    source: str | None  # the key of the member that said so; null: found out here
    source_name: str | None
    rtt: float | None  # an estimate
    tried: float | None
    tries: int
    outcome: str


class EventRow(TypedDict):
    age: float
    first: float
    count: int
    text: str


class Explanation(TypedDict):
    version: int
    kind: str
    interface: str
    peer: PeerRow
    introduced: float | None
    rounds: int
    next_try: float | None
    candidates: list[CandidateRow]
    events: list[EventRow]


class NoSuchPeer(LookupError):
    """No member, or more than one, goes by what was asked for."""


@dataclass(frozen=True, slots=True)
class View:
    """All that reports are made from. `mesh` and `device` are None before the interface was read."""

    interface: str
    members: Sequence[Member]
    now: float
    started: float
    gossip_port: int = 0
    gossip_open: bool = False
    sealed: bool = False
    mesh: Mesh | None = None
    device: Device | None = None
    waiting: str | None = None
    mapping: str | None = None  # how things stand with the router, in words

    def around(self) -> Circumstances:
        assert self.mesh is not None  # noqa: S101 - asked only where there are links
        return circumstances(self.mesh.links, self.mesh.gossip, self.mesh.standpoint, self.now)


NATS = {Nat.UNKNOWN: "unknown", Nat.OPEN: "none", Nat.STABLE: "stable", Nat.CHANGING: "changing"}
PATHS = {Path.LAN: "LAN", Path.DIRECT: "direct", Path.MAPPED: "mapped"}
KINDS = {kind: kind.name.lower() for kind in Kind}
LEFT_OUT = "left out"  # the state of a member that cannot be on the interface


def status_head(view: View) -> Head:
    mesh = view.mesh
    own = next((each for each in view.members if mesh and each.key == mesh.own), None)
    port = view.device.listen_port if view.device else 0
    links = list(mesh.links.values()) if mesh else []
    up = [link for link in links if link.is_up]
    return {
        "version": VERSION,
        "kind": "status",
        "interface": view.interface,
        "waiting": view.waiting,
        "key": key_text(mesh.own) if mesh else None,
        "name": own.name if own else None,
        "address": str(own.address) if own else None,
        "listen_port": port or None,
        "uptime": _age(view.started, view.now),
        "public": [str(each) for each in mesh.standpoint.public_endpoints()] if mesh else [],
        "nat": NATS[mesh.standpoint.nat(port) if mesh else Nat.UNKNOWN],
        "mapping": view.mapping,
        "clock_back": round(mesh.standpoint.clock_back, 1) if mesh else 0.0,
        "gossip": {
            "port": view.gossip_port,
            "open": view.gossip_open,
            "sealed": view.sealed,
            "in_step": sum(bool(link.agent and link.in_step) for link in up),
            "behind": sum(bool(link.agent and not link.in_step) for link in up),
            "silent": sum(not link.agent for link in up),
        },
        "peers_total": len(links),
        "peers_connected": len(up),
    }


def peer_rows(view: View) -> Iterator[PeerRow]:
    """All peers in the order of the configuration. Each is of the moment it is asked for."""
    if view.mesh is None:
        return
    around = view.around()
    for key in list(view.mesh.links):
        link = view.mesh.links.get(key)  # who left since the answer began is not in it
        if link is not None:
            yield peer_row(view, link, around)


def peer_row(view: View, link: Link, around: Circumstances) -> PeerRow:
    peer = view.device.peers.get(link.member.key) if view.device else None
    peer = peer or Peer(link.member.key)
    path = path_of(link, view.mesh.standpoint, view.mesh.gossip.book) if view.mesh else None
    now = view.now
    return {
        "key": key_text(link.member.key),
        "name": link.member.name,
        "address": str(link.member.address),
        "state": LEFT_OUT if link.blocked else link.state.value,
        "since": _age(link.since, now),
        "path": PATHS[path] if path is not None else None,
        "endpoint": str(link.endpoint) if link.is_up and link.endpoint else None,
        "rtt": round(link.rtt, 6) if link.is_up and link.rtt is not None else None,
        "heard": _age_or_none(link.heard, now),
        "rx_bytes": peer.rx_bytes,
        "tx_bytes": peer.tx_bytes,
        "agent": link.agent if link.is_up else None,
        "nat": NATS[link.nat],
        "reason": reason(link, around),
        "origin": link.member.origin,
    }


def find(view: View, text: str) -> Link:
    """The member of this name, mesh address, or beginning of its key. Raises NoSuchPeer."""
    links = list(view.mesh.links.values()) if view.mesh else []
    named = [each for each in links if text in (each.member.name, str(each.member.address))]
    found = named or [each for each in links if text and key_text(each.member.key).startswith(text)]
    if len(found) == 1:
        return found[0]
    shown = text[:MAX_PREFIX]
    if not found:
        raise NoSuchPeer(f'"{shown}" is no peer of {view.interface}: neither a name, an address nor a key')
    raise NoSuchPeer(f'"{shown}" fits {len(found)} peers of {view.interface}: write more of the key')


def explanation(view: View, link: Link) -> Explanation:
    assert view.mesh is not None  # noqa: S101 - there is a link
    now, attempt = view.now, link.attempt
    waits = not link.is_up and not link.blocked
    return {
        "version": VERSION,
        "kind": "explain",
        "interface": view.interface,
        "peer": peer_row(view, link, view.around()),
        "introduced": _age_or_none(link.introduced_at, now),
        "rounds": attempt.rounds,
        "next_try": round(max(0.0, attempt.next_shot - now), 1) if waits else None,
        "candidates": [_candidate(view.mesh, link, each, now) for each in link.candidates],
        "events": [
            {
                "age": _age(each.last, now),
                "first": _age(each.first, now),
                "count": each.count,
                "text": each.text,
            }
            for each in link.journal
        ],
    }


def _candidate(mesh: Mesh, link: Link, each: Candidate, now: float) -> CandidateRow:
    tried = link.journal.tried(each.endpoint)
    source = mesh.links.get(each.source) if each.source else None
    return {
        "endpoint": str(each.endpoint),
        "kind": KINDS[each.kind],
        "age": _age(each.confirmed, now),
        "source": key_text(each.source) if each.source else None,
        "source_name": source.member.name if source else None,
        "rtt": round(each.rtt, 6) if each.rtt else None,
        "tried": _age(tried.last, now) if tried else None,
        "tries": tried.count if tried else 0,
        "outcome": _outcome(mesh, link, each.endpoint),
    }


def _outcome(mesh: Mesh, link: Link, endpoint: Endpoint) -> str:
    """What became of the last attempt at an endpoint."""
    tried = link.journal.tried(endpoint)
    target = link.attempt.target
    if link.is_up and endpoint == link.endpoint:
        return "in use"
    if mesh.choice.refuses(endpoint):
        return "not tried: it cannot be this member's"
    if link.state is State.TRYING and target and target.endpoint == endpoint:
        return "being tried"
    if tried is None:
        return "not tried"
    return "answered" if tried.answered else "no answer"


def _age(since: float, now: float) -> float:
    return round(max(0.0, now - since), 1)


def _age_or_none(since: float, now: float) -> float | None:
    return None if since == float("-inf") else _age(since, now)
