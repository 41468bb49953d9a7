"""How two members on one LAN prove to each other where they are (docs/protocol.md).

No sockets here: plaintext and source address in, replies and findings out. The gossip secret is shared by
all, so a beacon sealed with it is only a hint. What counts is a proof: a nonce comes back, from the very
address it was sent to, in a box that only the two WireGuard keys can make and open. A challenge names a nonce
that the one asked sent out a moment ago, so an old one, sent again by a third, is not answered.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgpack
from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey

from .values import KEY_SIZE, Endpoint, IPAddress, Key

VERSION = 1
NONCE_SIZE = 16  # bytes
PORT_SIZE = 2  # bytes
CHALLENGES_PER_SECOND = 20  # any holder of the secret can forge beacons, each of which asks for a challenge
CHALLENGES_PER_SOURCE = 4  # of these; one host that floods leaves room for the others
NONCE_LIFETIME = 2.0  # s; a LAN answers in milliseconds
PROOF_FRESH = 30.0  # s; whoever proved to be there since is not asked in return
MAX_ANSWERED = 64  # challenges answered within NONCE_LIFETIME; more is a member gone wild
MAX_ASKED = 4096  # nonces remembered: a stranger who replays beacons gets one challenge for each
MAX_ADDRESSES = 16  # in a beacon
MAX_BOXES = 1024  # keys made ready (a scalar multiplication each); members beyond that take turns


class _Kind(IntEnum):
    BEACON = 0
    CHALLENGE = 1
    PROOF = 2


@dataclass(frozen=True, slots=True)
class Reply:
    """Send this plaintext, sealed, to `to`: where the datagram came from.

    `opens`: it answers a broadcast and so begins an exchange; else it answers a question put to us alone.
    """

    to: IPAddress
    plain: bytes
    opens: bool = False


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
    """One node's side of it. Times are in s. Link-local IPv6 addresses come and go with their scope."""

    def __init__(self, private_key: bytes, own: Key, members: Callable[[], Collection[Key]]) -> None:
        self._private = PrivateKey(private_key)
        self._own = own
        self._members = members
        self._boxes: dict[Key, Box] = {}
        self._pending: dict[bytes, _Pending] = {}  # our challenges, by nonce
        self._spoken: dict[
            bytes, float
        ] = {}  # nonces of our beacons and challenges, and until when they count
        self._answered: dict[bytes, float] = {}  # nonces of challenges that got their proof
        self._proved: dict[tuple[Key, IPAddress], float] = {}  # who proved to be where, and when
        self._asked: dict[tuple[bytes, IPAddress], None] = {}  # nonces that moved us to ask, from where
        self._recent: list[tuple[float, IPAddress]] = []  # the last challenges: when, to whom

    def beacon(self, addresses: Sequence[IPAddress], now: float) -> bytes:
        self._forget(now)
        packed = [ip.packed for ip in addresses[:MAX_ADDRESSES]]
        return _pack(_Kind.BEACON, {"k": self._own, "a": packed, "n": self._speak(now)})

    def moved(self) -> None:
        """Our own network changed: who proved to be near before has to be asked again."""
        self._proved.clear()

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
                is_listed = source.packed in body["a"][:MAX_ADDRESSES]
                return self._challenge(key, source, body["n"], now, opens=True) if is_listed else []
            if kind == _Kind.CHALLENGE:
                return self._prove(key, body["b"], source, own, port, now)
            if kind == _Kind.PROOF:
                return self._check(key, body["b"], source, now)
        except (CryptoError, ValueError, TypeError, KeyError, IndexError, msgpack.UnpackException):
            pass
        return []

    def _challenge(
        self, key: Key, to: IPAddress, echo: bytes, now: float, *, opens: bool
    ) -> list[Reply | Found]:
        if not isinstance(echo, bytes) or len(echo) != NONCE_SIZE:
            return []
        self._forget(now)
        share = sum(ip == to for _, ip in self._recent)
        if (
            (echo, to) in self._asked
            or share >= CHALLENGES_PER_SOURCE
            or len(self._recent) >= CHALLENGES_PER_SECOND
        ):
            return []
        self._recent.append((now, to))
        if len(self._asked) >= MAX_ASKED:
            del self._asked[next(iter(self._asked))]
        self._asked[echo, to] = None
        nonce = self._speak(now)
        self._pending[nonce] = _Pending(key, to, now + NONCE_LIFETIME)
        # The address inside keeps a third host from passing the challenge on to where the member really is.
        return [Reply(to, self._box(_Kind.CHALLENGE, key, nonce + echo + to.packed), opens)]

    def _prove(
        self, key: Key, boxed: bytes, source: IPAddress, own: Collection[IPAddress], port: int, now: float
    ) -> list[Reply | Found]:
        nonce, rest = self._unbox(_Kind.CHALLENGE, key, boxed)
        echo, address = rest[:NONCE_SIZE], rest[NONCE_SIZE:]
        self._forget(now)
        if echo not in self._spoken or nonce in self._answered or len(self._answered) >= MAX_ANSWERED:
            return []  # an old one replayed, the same twice, or too many
        if address not in [ip.packed for ip in own]:
            return []
        self._answered[nonce] = now + NONCE_LIFETIME
        proof = self._box(_Kind.PROOF, key, nonce + port.to_bytes(PORT_SIZE, "big"))
        replies: list[Reply | Found] = [Reply(source, proof)]
        if now - self._proved.get((key, source), float("-inf")) > PROOF_FRESH:
            # The challenger is a neighbour of ours as well.
            replies += self._challenge(key, source, nonce, now, opens=False)
        return replies

    def _check(self, key: Key, boxed: bytes, source: IPAddress, now: float) -> list[Reply | Found]:
        nonce, port = self._unbox(_Kind.PROOF, key, boxed)
        pending = self._pending.get(nonce)
        if pending is None or pending.key != key or pending.ip != source or now > pending.until:
            return []
        if len(port) != PORT_SIZE:
            return []
        del self._pending[nonce]
        self._proved[key, source] = now
        return [Found(key, Endpoint(source, int.from_bytes(port, "big")))]

    def _speak(self, now: float) -> bytes:
        """A new nonce, which a challenge may name for a while."""
        nonce = secrets.token_bytes(NONCE_SIZE)
        self._spoken[nonce] = now + NONCE_LIFETIME
        return nonce

    def _forget(self, now: float) -> None:
        self._recent = [each for each in self._recent if now - each[0] < 1.0]
        self._pending = {nonce: each for nonce, each in self._pending.items() if each.until > now}
        self._spoken = {nonce: until for nonce, until in self._spoken.items() if until > now}
        self._answered = {nonce: until for nonce, until in self._answered.items() if until > now}
        self._proved = {where: at for where, at in self._proved.items() if now - at <= PROOF_FRESH}

    def _box(self, kind: _Kind, key: Key, inside: bytes) -> bytes:
        # A box opens with the keys of either end. What it says, and who says it, stands inside, or the
        # asked one could send a challenge back relabelled as the proof.
        boxed = self._box_with(key).encrypt(bytes([kind]) + self._own + inside)
        return _pack(kind, {"k": self._own, "b": bytes(boxed)})

    def _unbox(self, kind: _Kind, key: Key, boxed: bytes) -> tuple[bytes, bytes]:
        """The nonce, and what follows it; ValueError or CryptoError unless `key` boxed exactly this kind."""
        opened = self._box_with(key).decrypt(boxed)
        label = bytes([kind]) + key
        if not opened.startswith(label):
            raise ValueError("another kind, or another speaker")
        inside = opened[len(label) :]
        return inside[:NONCE_SIZE], inside[NONCE_SIZE:]

    def _box_with(self, key: Key) -> Box:
        if key not in self._boxes:
            if len(self._boxes) >= MAX_BOXES:
                del self._boxes[next(iter(self._boxes))]
            self._boxes[key] = Box(self._private, PublicKey(key))
        return self._boxes[key]


def _pack(kind: _Kind, body: dict[str, Any]) -> bytes:
    packed: bytes = msgpack.packb([VERSION, kind, body])
    return packed
