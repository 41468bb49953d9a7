"""What the lease of a mapping is told, and what it wants done. Plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from ..values import Endpoint, IPAddress


class Trouble(Enum):
    """What keeps a mapping from being made or announced. The value is what a person reads."""

    SILENT = "no answer"
    REFUSED = "refused"
    TAKEN = "port taken"
    PRIVATE = "private address"


class Way(Enum):
    """The value is what a person reads."""

    PCP = "PCP"
    NAT_PMP = "NAT-PMP"
    UPNP = "UPnP"


@dataclass(frozen=True, slots=True)
class Wish:
    """`internal` is our address toward the router and WireGuard's port; `external_port` 0 is any."""

    router: IPAddress
    internal: Endpoint
    external_port: int
    nonce: bytes


@dataclass(frozen=True, slots=True)
class UpnpAnswer:
    """What the UPnP program found out. If it failed, `trouble` and `error` say why.

    `lifetime` in s, 0 is for ever; `made`: the mapping was not there before; `url` finds the router again
    without a search.
    """

    ip: IPAddress | None = None
    port: int = 0
    lifetime: int = 0
    made: bool = False
    url: str = ""
    trouble: Trouble | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Datagram:
    """Send this to the router's port 5351."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Upnp:
    """Run the UPnP program: make or keep the mapping, or release it."""

    port: int  # 0: any
    url: str = ""
    release: bool = False


@dataclass(frozen=True, slots=True)
class EndUpnp:
    """What the UPnP program finds out is not wanted any more."""


@dataclass(frozen=True, slots=True)
class Opened:
    """From now on `endpoint` leads to us; None: nothing does."""

    endpoint: Endpoint | None
    way: Way | None = None


@dataclass(frozen=True, slots=True)
class Complaint:
    trouble: Trouble
    text: str


Action: TypeAlias = Datagram | Upnp | EndUpnp | Opened | Complaint
