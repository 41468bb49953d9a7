"""WireGuard interfaces, kernel and userspace, behind one small face. Nothing is ever shelled out."""

from __future__ import annotations

from typing import Protocol

from ..values import Device, Endpoint, IPNetwork, Key, Peer


class WireGuard(Protocol):
    """A WireGuard interface. Every method raises OSError, with ENODEV when the interface is gone."""

    def read(self) -> Device:
        """The device and all its peers, complete, however many there are."""

    def add(self, *peers: Peer) -> None:
        """Make peers that are missing; set endpoint and keepalive if given, add allowed IPs. One message."""

    def update(
        self,
        key: Key,
        *,
        endpoint: Endpoint | None = None,
        keepalive: int | None = None,
        allowed_ips: tuple[IPNetwork, ...] = (),
        replace: bool = False,
    ) -> None:
        """Change what is given of an existing peer; a missing one stays missing.

        Allowed IPs are added to those it has, or with `replace` take their place.
        """

    def readd(self, peer: Peer) -> None:
        """Remove the peer and make it anew as given here, in one message: a new handshake at once."""

    def remove(self, key: Key) -> None:
        """Remove the peer; one that is not there is no error."""

    def close(self) -> None:
        """Release sockets. The interface stays as it is."""
