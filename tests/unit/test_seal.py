"""Seals: what one secret sealed, only that secret opens, and only for the same purpose."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wgautomesh.messages import SEAL_OVERHEAD
from wgautomesh.seal import Seal

GOSSIP = Seal(["the secret"], "gossip")


@given(st.binary(max_size=1200))
def test_what_is_sealed_opens_again(plain: bytes) -> None:
    sealed = GOSSIP.seal(plain)
    assert GOSSIP.open(sealed) == plain
    assert len(sealed) == len(plain) + SEAL_OVERHEAD


def test_another_secret_or_purpose_does_not_open_it() -> None:
    sealed = GOSSIP.seal(b"word")
    assert Seal(["another"], "gossip").open(sealed) is None
    assert Seal(["the secret"], "beacon").open(sealed) is None
    assert Seal([], "gossip").open(sealed) is None


def test_the_first_secret_seals_and_every_secret_opens() -> None:
    both = Seal(["new", "old"], "gossip")
    assert both.open(Seal(["old"], "gossip").seal(b"from a node not renewed yet")) is not None
    assert Seal(["new"], "gossip").open(both.seal(b"word")) == b"word"
    assert Seal(["old"], "gossip").open(both.seal(b"word")) is None


def test_without_a_secret_nodes_still_understand_each_other() -> None:
    assert Seal([], "gossip").open(Seal([], "gossip").seal(b"word")) == b"word"


def test_the_same_words_never_look_the_same() -> None:
    assert GOSSIP.seal(b"word") != GOSSIP.seal(b"word")


def test_every_changed_byte_is_noticed() -> None:
    sealed = GOSSIP.seal(b"word")
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        assert GOSSIP.open(bytes(changed)) is None
        assert GOSSIP.open(sealed[:place]) is None


@given(st.binary(max_size=1300))
def test_noise_does_not_open(noise: bytes) -> None:
    assert GOSSIP.open(noise) is None
