"""How two members on one LAN prove to each other where they are (docs/protocol.md).

No sockets here: plaintext and source address in, replies and findings out. The gossip secret is shared by
all, so a beacon sealed with it is only a hint. What counts is a proof: a nonce comes back, from the very
address it was sent to, in a box that only the two WireGuard keys can make and open.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_address
from typing import Any

import msgpack
from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey

from .values import KEY_SIZE, Endpoint, IPAddress, Key

VERSION = 1
NONCE_SIZE = 16  # bytes
PORT_SIZE = 2  # bytes
CHALLENGES_PER_SECOND = 5  # a challenge costs two box operations; beacons can be forged by any secret holder
CHALLENGE_LIFETIME = 2.0  # s; a LAN answers in milliseconds
MAX_PENDING = 64
MAX_ADDRESSES = 16  # in a beacon


class _Kind(IntEnum):
    BEACON = 0
    CHALLENGE = 1
    PROOF = 2


@dataclass(frozen=True, slots=True)
class Reply:
    """Send this plaintext, sealed, to `to`."""

    to: IPAddress
    plain: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """A member proved that it is at this endpoint."""

    key: Key
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class _Pending:
    key: Key
    ip: IPAddress
    until: float


class Beacons:
    """One node's side of it. Times are in s; `on_link` tells whether an address is on the receiving LAN."""

    def __init__(self, private_key: bytes, own: Key, members: Callable[[], Collection[Key]]) -> None:
        self._private = PrivateKey(private_key)
        self._own = own
        self._members = members
        self._pending: dict[bytes, _Pending] = {}
        self._proved: dict[Key, IPAddress] = {}  # where each member proved to be last
        self._recent: list[float] = []  # when the last challenges left

    def beacon(self, addresses: Sequence[IPAddress]) -> bytes:
        packed = [ip.packed for ip in addresses[:MAX_ADDRESSES]]
        return _pack(_Kind.BEACON, {"k": self._own, "a": packed})

    def receive(
        self, plain: bytes, source: IPAddress, own: Collection[IPAddress], port: int, now: float
    ) -> list[Reply | Found]:
        """An opened datagram from an on-link address; `own` are ours on that LAN, `port` is WireGuard's.

        Anything that is not exactly right changes nothing.
        """
        try:
            version, kind, body = msgpack.unpackb(plain)[:3]
            key = Key(body["k"])
            if version != VERSION or len(key) != KEY_SIZE or key == self._own or key not in self._members():
                return []
            if kind == _Kind.BEACON:
                listed = [ip_address(packed) for packed in body["a"][:MAX_ADDRESSES]]
                return self._challenge(key, source, now) if source in listed else []
            if kind == _Kind.CHALLENGE:
                return self._prove(key, body["b"], source, own, port, now)
            if kind == _Kind.PROOF:
                return self._check(key, body["b"], source, now)
        except (CryptoError, ValueError, TypeError, KeyError, IndexError, msgpack.UnpackException):
            pass
        return []

    def _challenge(self, key: Key, to: IPAddress, now: float) -> list[Reply | Found]:
        self._recent = [when for when in self._recent if now - when < 1.0]
        self._pending = {nonce: each for nonce, each in self._pending.items() if each.until > now}
        asked = any(each.key == key and each.ip == to for each in self._pending.values())
        if asked or len(self._recent) >= CHALLENGES_PER_SECOND or len(self._pending) >= MAX_PENDING:
            return []
        self._recent.append(now)
        nonce = secrets.token_bytes(NONCE_SIZE)
        self._pending[nonce] = _Pending(key, to, now + CHALLENGE_LIFETIME)
        # The address inside keeps a third host from passing the challenge on to where the member really is.
        return [Reply(to, self._box(_Kind.CHALLENGE, key, nonce + to.packed))]

    def _prove(
        self, key: Key, boxed: bytes, source: IPAddress, own: Collection[IPAddress], port: int, now: float
    ) -> list[Reply | Found]:
        nonce, address = self._unbox(_Kind.CHALLENGE, key, boxed)
        if ip_address(address) not in own:
            return []
        proof = self._box(_Kind.PROOF, key, nonce + port.to_bytes(PORT_SIZE, "big"))
        replies: list[Reply | Found] = [Reply(source, proof)]
        if self._proved.get(key) != source:
            replies += self._challenge(key, source, now)  # the challenger is a neighbour of ours as well
        return replies

    def _check(self, key: Key, boxed: bytes, source: IPAddress, now: float) -> list[Reply | Found]:
        nonce, port = self._unbox(_Kind.PROOF, key, boxed)
        pending = self._pending.get(nonce)
        if pending is None or pending.key != key or pending.ip != source or now > pending.until:
            return []
        if len(port) != PORT_SIZE:
            return []
        del self._pending[nonce]
        self._proved[key] = source
        return [Found(key, Endpoint(source, int.from_bytes(port, "big")))]

    def _box(self, kind: _Kind, key: Key, inside: bytes) -> bytes:
        # A box opens with the keys of either end. What it says, and who says it, stands inside, or the
        # asked one could send a challenge back relabelled as the proof.
        boxed = Box(self._private, PublicKey(key)).encrypt(bytes([kind]) + self._own + inside)
        return _pack(kind, {"k": self._own, "b": bytes(boxed)})

    def _unbox(self, kind: _Kind, key: Key, boxed: bytes) -> tuple[bytes, bytes]:
        """The nonce, and what follows it; ValueError or CryptoError unless `key` boxed exactly this kind."""
        opened = Box(self._private, PublicKey(key)).decrypt(boxed)
        label = bytes([kind]) + key
        if not opened.startswith(label):
            raise ValueError("another kind, or another speaker")
        inside = opened[len(label) :]
        return inside[:NONCE_SIZE], inside[NONCE_SIZE:]


def _pack(kind: _Kind, body: dict[str, Any]) -> bytes:
    packed: bytes = msgpack.packb([VERSION, kind, body])
    return packed
