"""What the core wants done. The agent carries these out, in order; the core does none of it itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from .messages import Message
from .values import Endpoint, IPNetwork, Key, Member, Peer


class Level(IntEnum):
    """As in the standard logging module."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


@dataclass(frozen=True, slots=True)
class Look:
    """Read WireGuard as soon as the reading budget allows, and hand the result to `Mesh.device`."""


@dataclass(frozen=True, slots=True)
class Send:
    """Seal the message and send it to the member's mesh address, through the tunnel."""

    member: Member
    message: Message


@dataclass(frozen=True, slots=True)
class Admit:
    """Make the peers, in one message: a hundred must not take a hundred times as long."""

    peers: tuple[Peer, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """Change an existing peer in place; its session goes on. Allowed IPs are added, or with `replace` all."""

    key: Key
    endpoint: Endpoint | None = None
    keepalive: int | None = None  # s
    allowed_ips: tuple[IPNetwork, ...] = ()
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Readd:
    """Remove the peer and make it anew with all it had: a handshake may start at once."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class Remove:
    key: Key


@dataclass(frozen=True, slots=True)
class Resolve:
    """Look the name up off the main thread, and hand the result to `Mesh.resolved`."""

    key: Key
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Save:
    """Something worth keeping changed: write `Mesh.memory` within a few seconds."""


@dataclass(frozen=True, slots=True)
class Say:
    """One line for the operator; `about` is the member it concerns."""

    level: Level
    text: str
    about: Key | None = None


Effect: TypeAlias = Look | Send | Admit | Change | Readd | Remove | Resolve | Save | Say
