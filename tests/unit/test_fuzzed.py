"""What fuzzers search (tests/fuzz), without them: seeds, neighbours of seeds, and all that was ever found."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.__main__ import NAMES
from tests.fuzz.targets import TARGETS

NEIGHBOURS = 60  # of each seed
WORDS = (b"\0", b"\xff", b"=", b"\n", b'"', b"[", b"1" * 400, b"\xc0\x80", b"NaN", b"Infinity", b"-1", b"%")

# Inputs that once raised what nobody catches.
FOUND = (
    ("state", b'{"version": 1, "dns": {"name": "x", "ttl": Infinity, "hosts": {}}}'),
    ("state", b'{"version": 1, "dns": {"name": "x", "ttl": NaN, "hosts": {}}}'),
    ("state", b'{"version": 1, "dns": {"name": "x", "ttl": 1' + b"0" * 400 + b', "hosts": {}}}'),
    ("router", b'"error"'),
    ("router", b'{"ip": "44.128.1.1", "port": Infinity, "lifetime": 1}'),
    ("router", b'{"ip": "44.128.1.1", "port": 5, "lifetime": 1e999, "made": true, "url": ""}'),
)


def test_every_target_is_searched() -> None:
    assert set(NAMES) == set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_their_neighbours(name: str) -> None:
    target, rng = TARGETS[name], Random(name)
    for seed in target.seeds():
        target.run(seed)
        for _ in range(NEIGHBOURS):
            target.run(neighbour(seed, rng))


def neighbour(seed: bytes, rng: Random) -> bytes:
    data = bytearray(seed)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0:
                data[at : at + 1] = rng.randbytes(1)
            case 1:
                del data[at : at + rng.randint(1, 8)]
            case 2:
                data[at:at] = rng.choice(WORDS)
            case 3:
                data[at:at] = data[at // 2 : at]
    return bytes(data)


@pytest.mark.parametrize(("name", "data"), FOUND, ids=[f"{name}-{n}" for n, (name, _) in enumerate(FOUND)])
def test_what_was_found_stays_mended(name: str, data: bytes) -> None:
    TARGETS[name].run(data)
