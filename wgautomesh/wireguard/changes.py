"""What can be done to a peer, said once for both kinds of interface. A list of changes is one message.

Values only: `netlink` and `uapi` put them into bytes, `kernel` and `uapi` send them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..values import Endpoint, IPNetwork, Key, Peer


@dataclass(frozen=True, slots=True)
class Change:
    """One peer as it shall become: None leaves a thing as it is, allowed IPs are added to those it has.

    `update_only` makes nothing of a peer that is missing. Without it a change to a peer that somebody has
    just removed would recreate it naked, without its preshared key.
    """

    key: Key
    remove: bool = False
    update_only: bool = False
    replace_allowed_ips: bool = False
    endpoint: Endpoint | None = None
    preshared_key: bytes | None = field(default=None, repr=False)
    keepalive: int | None = None  # s, 0 is off
    allowed_ips: tuple[IPNetwork, ...] = ()


def adding(peer: Peer) -> list[Change]:
    return [
        Change(
            peer.key,
            endpoint=peer.endpoint,
            preshared_key=peer.preshared_key,
            keepalive=peer.keepalive or None,
            allowed_ips=peer.allowed_ips,
        )
    ]


def updating(
    key: Key,
    endpoint: Endpoint | None,
    keepalive: int | None,
    allowed_ips: tuple[IPNetwork, ...],
    *,
    replace: bool = False,
) -> list[Change]:
    return [
        Change(
            key,
            update_only=True,
            replace_allowed_ips=replace,
            endpoint=endpoint,
            keepalive=keepalive,
            allowed_ips=allowed_ips,
        )
    ]


def readding(peer: Peer) -> list[Change]:
    """Both halves in one list, so in one message: killed in between two, we would have lost the peer."""
    return [*removing(peer.key), *adding(peer)]


def removing(key: Key) -> list[Change]:
    return [Change(key, remove=True)]
