"""What members say to each other inside the tunnel, and how it looks on the wire (docs/protocol.md).

Pure: bytes in, values out. A value that breaks the rules cannot be made; bytes that break them raise
Malformed. Nothing here knows who sent a message or whether it is true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias, TypeVar

import msgpack

from .values import KEY_SIZE, Endpoint, Key

MAJOR = 1  # the first element of every message; another one is not understood, and reported once
SEAL_OVERHEAD = 40  # bytes that xsalsa20poly1305 adds: 24 of nonce, 16 of tag
MAX_DATAGRAM = 1232  # bytes: IPv6's minimum MTU of 1280 (RFC 8200, section 5) less IPv6 and UDP headers
MAX_PLAIN = MAX_DATAGRAM - SEAL_OVERHEAD
MAX_ROUTES = 8  # endpoints in one record; a longer list would let one member fill everyone's memory
MAX_RTT = 1.5  # s; a longer round trip or wait in an introduction would only hold up the pair
MAX_LINK_RTT = 60.0  # s; what an operator is told is not worth more digits
MAX_AGE = 10 * 365 * 86400  # s; an older claim is taken to be this old
BUCKETS = 64  # parts a book is compared in; all their digests fill one datagram
DIGEST_BITS = 64
BUCKET_BYTES = 4


class Malformed(ValueError):
    """The other side broke the rules of the wire."""


class Newer(Exception):
    """The other side speaks a newer major version."""

    def __init__(self, major: int) -> None:
        super().__init__(f"protocol version {major}")
        self.major = major


class Kind(IntEnum):
    """How an endpoint came to be known. The numbers are the wire's."""

    LAN = 0  # an address of the member's own interface
    OBSERVED = 1  # where others see the member's packets come from (reflexive)
    MAPPED = 2  # opened by the member's router
    CONFIGURED = 3  # from the configuration or the interface; never on the wire
    RESTORED = 4  # from the state file; never on the wire


WIRE_KINDS = (Kind.LAN, Kind.OBSERVED, Kind.MAPPED)


class Nat(IntEnum):
    """What a member has found out about the NAT before it. The numbers are the wire's."""

    UNKNOWN = 0  # fewer than two observers so far
    OPEN = 1  # others see the interface's own address and port
    STABLE = 2  # all observers see one and the same endpoint
    CHANGING = 3  # observers see different ports: the NAT gives each destination its own


class Path(IntEnum):
    """How packets get to a member. The numbers are the wire's."""

    LAN = 0  # on a network that both stand on
    DIRECT = 1
    MAPPED = 2  # through a port that the member's router opened


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint of a record. `age` is in s since somebody last confirmed it."""

    kind: Kind
    endpoint: Endpoint
    age: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """What a member says of itself. Only the member makes a new version; all others pass it on.

    `version` counts modulo 2**32 (serial number arithmetic, RFC 1982), so no forged number is the last.
    """

    key: Key
    version: int
    nat: Nat = Nat.UNKNOWN
    routes: tuple[Route, ...] = ()

    def newer_than(self, other: Record) -> bool:
        ahead = (self.version - other.version) % 2**32
        # RFC 1982 leaves the exact opposite undefined: there one of the two must win, the same everywhere.
        return 0 < ahead < 2**31 or (ahead == 2**31 and self.version > other.version)


@dataclass(frozen=True, slots=True)
class Introduction:
    """The introducer is connected to the member `key`, and sees it at `at`.

    `record` is what the introducer has of it, if anything. `rtt` is an estimate, in s, of the round trip
    between the two introduced; `wait`, in s, lets the first shots of both leave in the same moment.
    """

    key: Key
    record: Record | None
    at: Endpoint
    rtt: float = 0.0
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Hello:
    """Are you there? Asks for an Answer with the same number."""

    number: int
    digest: int
    sees: Endpoint | None = None  # where the sender sees the receiver


@dataclass(frozen=True, slots=True)
class Answer:
    number: int
    digest: int
    sees: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class Records:
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """A digest of each bucket of the sender's book; `reply` asks for the receiver's in return."""

    buckets: tuple[int, ...]
    reply: bool = False


@dataclass(frozen=True, slots=True)
class Seek:
    """The sender has no link to these members: introduce us."""

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Introduce:
    introductions: tuple[Introduction, ...]


@dataclass(frozen=True, slots=True)
class AskLinks:
    """Whom are you connected to? An operator wants to see the mesh. Asks for Links with the same number."""

    number: int


@dataclass(frozen=True, slots=True)
class LinkWord:
    """The sender's link with a member. `path` is None if it is not up; `rtt` is in s, None if unknown."""

    key: Key
    path: Path | None
    rtt: float | None = None


@dataclass(frozen=True, slots=True)
class Links:
    """Part of an answer, whose parts hold `total` links in all."""

    number: int
    total: int
    links: tuple[LinkWord, ...]


Message: TypeAlias = Hello | Answer | Records | Summary | Seek | Introduce | AskLinks | Links
Item = TypeVar("Item")


def encode(message: Message) -> bytes:
    """The plaintext of one datagram; at most MAX_PLAIN bytes when lists were split by `batches`."""
    body: dict[str, Any]
    match message:
        case Hello(number, digest, sees) | Answer(number, digest, sees):
            kind = 0 if isinstance(message, Hello) else 1
            body = {"n": number, "d": digest}
            if sees is not None:
                body["s"] = sees.pack()
        case Records(records):
            kind, body = 2, {"r": [_pack_record(record) for record in records]}
        case Summary(buckets, reply):
            packed = b"".join(bucket.to_bytes(BUCKET_BYTES, "big") for bucket in buckets)
            kind, body = 3, {"b": packed, "r": reply}
        case Seek(keys):
            kind, body = 4, {"k": b"".join(keys)}
        case Introduce(introductions):
            kind, body = 5, {"i": [_pack_introduction(each) for each in introductions]}
        case AskLinks(number):
            kind, body = 6, {"n": number}
        case Links(number, total, links):
            kind, body = 7, {"n": number, "t": total, "l": [_pack_link(each) for each in links]}
    packed_message: bytes = msgpack.packb([MAJOR, kind, body])
    return packed_message


def decode(plain: bytes) -> Message | None:
    """The message in an opened datagram; None for a kind this version does not know.

    Raises Malformed, and Newer for another major version. Unknown fields and further list elements are
    skipped, so that later minor versions can add them.
    """
    try:
        unpacked = msgpack.unpackb(plain)
    except Exception as error:  # msgpack raises half a dozen kinds, not all of them ValueError
        raise Malformed("not msgpack") from error
    if not isinstance(unpacked, list) or len(unpacked) < 3:
        raise Malformed("not a message")
    major, kind, body = unpacked[:3]
    if not _is_count(major):
        raise Malformed("no version")
    if major != MAJOR:
        raise Newer(major)
    if not _is_count(kind) or not isinstance(body, dict):
        raise Malformed("no kind or body")
    unpack = _UNPACK.get(kind)
    if unpack is None:
        return None
    try:
        return unpack(body)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise Malformed(f"kind {kind}: {error}") from error


def batches(items: Iterable[Item], wrap: Callable[[tuple[Item, ...]], Message]) -> Iterator[Message]:
    """As few messages as hold all items, each within MAX_PLAIN."""
    items = tuple(items)
    if len(items) == 1:
        yield wrap(items)
        return
    overhead = len(encode(wrap(())))
    batch: list[Item] = []
    size = overhead + 4  # a longer list or byte string needs a longer header
    for item in items:
        grown = len(encode(wrap((item,)))) - overhead
        if batch and size + grown > MAX_PLAIN:
            yield wrap(tuple(batch))
            batch, size = [], overhead + 4
        batch.append(item)
        size += grown
    if batch:
        yield wrap(tuple(batch))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _count(value: object, below: int) -> int:
    if not _is_count(value) or int(value) >= below:  # type: ignore[call-overload]
        raise ValueError("a number out of range")
    return int(value)  # type: ignore[call-overload, no-any-return]


def _key(value: object) -> Key:
    if not isinstance(value, bytes) or len(value) != KEY_SIZE:
        raise ValueError("not a key")
    return Key(value)


def _endpoint(value: object) -> Endpoint:
    if not isinstance(value, bytes):
        raise ValueError("not an endpoint")
    return Endpoint.unpack(value)


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("not a list")
    return value


def _pack_record(record: Record) -> list[Any]:
    routes = [[route.kind, route.endpoint.pack(), route.age] for route in record.routes]
    return [record.key, record.version, record.nat, routes]


def _unpack_record(value: object) -> Record:
    key, version, nat, packed_routes = _list(value)[:4]
    routes = []
    for packed in _list(packed_routes)[:MAX_ROUTES]:
        kind, endpoint, age = _list(packed)[:3]
        if kind in WIRE_KINDS:  # a kind this version does not know is skipped
            routes.append(Route(Kind(kind), _endpoint(endpoint), min(_count(age, 2**64), MAX_AGE)))
    known_nat = Nat(nat) if nat in tuple(Nat) else Nat.UNKNOWN
    return Record(_key(key), _count(version, 2**32), known_nat, tuple(routes))


def _pack_introduction(each: Introduction) -> list[Any]:
    record = _pack_record(each.record) if each.record else None
    rtt, wait = (round(min(value, MAX_RTT) * 1000) for value in (each.rtt, each.wait))
    return [each.key, record, each.at.pack(), rtt, wait]


def _unpack_introduction(value: object) -> Introduction:
    key, record, at, rtt, wait = _list(value)[:5]
    rtt, wait = (min(_count(value, 2**64) / 1000, MAX_RTT) for value in (rtt, wait))
    known = None if record is None else _unpack_record(record)
    return Introduction(_key(key), known, _endpoint(at), rtt, wait)


def _pack_link(each: LinkWord) -> list[Any]:
    rtt = None if each.rtt is None else round(min(each.rtt, MAX_LINK_RTT) * 1000)
    return [each.key, None if each.path is None else int(each.path), rtt]


def _unpack_link(value: object) -> LinkWord:
    key, path, rtt = _list(value)[:3]
    known = Path(path) if path in tuple(Path) else Path.DIRECT  # up, by a way this version does not know
    seconds = None if rtt is None else min(_count(rtt, 2**64) / 1000, MAX_LINK_RTT)
    return LinkWord(_key(key), None if path is None else known, seconds)


def _unpack_links(body: dict[str, Any]) -> Links:
    words = tuple(_unpack_link(each) for each in _list(body["l"]))
    return Links(_count(body["n"], 2**32), _count(body["t"], 2**16), words)


def _unpack_probe(body: dict[str, Any]) -> tuple[int, int, Endpoint | None]:
    sees = _endpoint(body["s"]) if "s" in body else None
    return _count(body["n"], 2**32), _count(body["d"], 2**DIGEST_BITS), sees


def _unpack_summary(body: dict[str, Any]) -> Summary:
    packed = body["b"]
    if not isinstance(packed, bytes) or len(packed) != BUCKETS * BUCKET_BYTES:
        raise ValueError("not the digests of all buckets")
    steps = range(0, len(packed), BUCKET_BYTES)
    buckets = tuple(int.from_bytes(packed[at : at + BUCKET_BYTES], "big") for at in steps)
    return Summary(buckets, reply=body.get("r") is True)


def _unpack_seek(body: dict[str, Any]) -> Seek:
    packed = body["k"]
    if not isinstance(packed, bytes) or len(packed) % KEY_SIZE:
        raise ValueError("not a row of keys")
    return Seek(tuple(Key(packed[at : at + KEY_SIZE]) for at in range(0, len(packed), KEY_SIZE)))


_UNPACK: dict[int, Callable[[dict[str, Any]], Message]] = {
    0: lambda body: Hello(*_unpack_probe(body)),
    1: lambda body: Answer(*_unpack_probe(body)),
    2: lambda body: Records(tuple(_unpack_record(each) for each in _list(body["r"]))),
    3: _unpack_summary,
    4: _unpack_seek,
    5: lambda body: Introduce(tuple(_unpack_introduction(each) for each in _list(body["i"]))),
    6: lambda body: AskLinks(_count(body["n"], 2**32)),
    7: _unpack_links,
}
