"""Sealing datagrams with the gossip secret (xsalsa20poly1305, from libsodium)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

# Of the sealing alone. The version of messages stays out of the key: a newer one has to open to be reported.
SCHEME = 1


MAX_WAYS = 4096  # whose boxes are kept ready; a peer with a wide allowed IP has many source addresses


class Seal:
    """The first secret seals, every secret opens. Each purpose has keys of its own, so that a LAN beacon
    can never be replayed as gossip; and so has each way from one to another, so that who was sent something
    can neither send it back nor pass it on. Without a secret the key is that of the empty text."""

    def __init__(self, secrets: Sequence[str], purpose: str) -> None:
        self._secrets = tuple(secrets) or ("",)
        self._purpose = purpose
        self._boxes: dict[bytes, list[SecretBox]] = {}  # by way

    def seal(self, plain: bytes, way: bytes = b"") -> bytes:
        """40 bytes longer than `plain`: a random nonce of 24, and a tag of 16."""
        return bytes(self._boxes_of(way)[0].encrypt(plain))

    def open(self, sealed: bytes, way: bytes = b"") -> bytes | None:
        """The plaintext, or None if none of the secrets sealed this for the same way."""
        for box in self._boxes_of(way):
            try:
                return box.decrypt(sealed)
            except (CryptoError, ValueError):  # ValueError: shorter than a nonce
                continue
        return None

    def _boxes_of(self, way: bytes) -> list[SecretBox]:
        boxes = self._boxes.get(way)
        if boxes is None:
            if len(self._boxes) >= MAX_WAYS:
                del self._boxes[next(iter(self._boxes))]
            boxes = [SecretBox(_key(secret, self._purpose, way)) for secret in self._secrets]
            self._boxes[way] = boxes
        return boxes


def _key(secret: str, purpose: str, way: bytes) -> bytes:
    person = f"wgam{SCHEME} {purpose}".encode()  # at most 16 bytes
    key = hashlib.blake2b(secret.encode(), digest_size=SecretBox.KEY_SIZE, person=person).digest()
    return (
        hashlib.blake2b(way, digest_size=SecretBox.KEY_SIZE, key=key, person=person).digest() if way else key
    )
