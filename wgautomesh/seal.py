"""Sealing datagrams with the gossip secret (xsalsa20poly1305, from libsodium)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

# Of the sealing alone. The version of messages stays out of the key: a newer one has to open to be reported.
SCHEME = 1


class Seal:
    """The first secret seals, every secret opens. Each purpose has keys of its own, so that a LAN beacon
    can never be replayed as gossip. Without a secret the key is that of the empty text."""

    def __init__(self, secrets: Sequence[str], purpose: str) -> None:
        self._boxes = [SecretBox(_key(secret, purpose)) for secret in secrets or ("",)]

    def seal(self, plain: bytes) -> bytes:
        """40 bytes longer than `plain`: a random nonce of 24, and a tag of 16."""
        return bytes(self._boxes[0].encrypt(plain))

    def open(self, sealed: bytes) -> bytes | None:
        """The plaintext, or None if none of the secrets sealed this."""
        for box in self._boxes:
            try:
                return box.decrypt(sealed)
            except (CryptoError, ValueError):  # ValueError: shorter than a nonce
                continue
        return None


def _key(secret: str, purpose: str) -> bytes:
    person = f"wgam{SCHEME} {purpose}".encode()  # at most 16 bytes
    return hashlib.blake2b(secret.encode(), digest_size=SecretBox.KEY_SIZE, person=person).digest()
