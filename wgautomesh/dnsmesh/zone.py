"""What the DNS says of a mesh: answers in, hosts and what is wrong with them out. Pure.

The records, as users of this scheme publish them:

    _p2p.example.com.                    TXT      "node-a.example.com": one a member, in this or another zone
    _wireguard.node-a.example.com.       TXT      its WireGuard public key
    _wireguard.node-a.example.com.       A, AAAA  its allowed IPs
    node-a.example.com.                  A, AAAA  where it may be reached
    _wireguard._udp.node-a.example.com.  SRV      at which port, if not at `dns_port`
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ..candidates import MAX_CONFIGURED
from ..values import Endpoint, IPAddress, Key, can_be_a_host, parse_key

MAX_HOSTS = 1000  # of one mesh; a zone gone wild shall not have us ask for ever
MAX_ADDRESSES = 16  # allowed IPs of one host; each costs every member memory in its kernel
KEY_LABEL = "_wireguard."
PORT_LABEL = "_wireguard._udp."
_MAX_NAME = 253 - len(PORT_LABEL)  # characters (RFC 1035, 2.3.4), as we ask below the name
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What was answered to one question: no values mean that the name has no such record.

    `ttl` is the smallest of the records, in s, None without any. `error` says why there is no answer.
    """

    values: tuple[T, ...] = ()
    ttl: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """An SRV record; its target is not used (RFC 2782)."""

    priority: int
    weight: int
    port: int


@dataclass(frozen=True, slots=True)
class HostAnswers:
    keys: Answer[bytes] = Answer()
    allowed: Answer[IPAddress] = Answer()  # A and AAAA together
    addresses: Answer[IPAddress] = Answer()  # A and AAAA together
    services: Answer[Service] = Answer()


@dataclass(frozen=True, slots=True)
class Zone:
    """All that one refresh brought. `hosts` are those named, none if `names` has an error."""

    names: Answer[bytes]
    hosts: Mapping[str, HostAnswers] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Host:
    """A member as the DNS describes it. `addresses` are its allowed IPs, lowest first, at least one."""

    name: str
    key: Key
    addresses: tuple[IPAddress, ...]
    endpoints: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Complaint:
    """Something to tell the operator once, as long as it stays so."""

    about: str
    text: str


def both(one: Answer[T], other: Answer[T]) -> Answer[T]:
    """Two answers as one: that to A and that to AAAA."""
    ttls = [each.ttl for each in (one, other) if each.ttl is not None]
    return Answer(one.values + other.values, min(ttls, default=None), one.error or other.error)


def host_name(text: str) -> str | None:
    """A host's name as we write it (lower case, no final dot), None if it cannot be one."""
    name = text.strip().removesuffix(".").lower()
    fits = 0 < len(name) <= _MAX_NAME and all(_LABEL.fullmatch(label) for label in name.split("."))
    return name if fits else None


def host_names(texts: Iterable[bytes]) -> tuple[list[str], list[str]]:
    """The hosts that the TXT records of a mesh's name name, and what is wrong with the other records."""
    names: dict[str, None] = {}
    wrong = []
    for number, raw in enumerate(texts):
        text = _decoded(raw)
        name = host_name(text) if text is not None else None
        if text is None:
            wrong.append(f"a TXT record is not UTF-8: {raw[:40]!r}")
        elif name is None:
            wrong.append(f'"{text[:80]}" is no host name')
        elif number >= MAX_HOSTS:
            wrong.append(f"more than {MAX_HOSTS} members are named: the rest is left out")
            break
        else:
            names[name] = None
    return list(names), wrong


def read_host(
    name: str, answers: HostAnswers, port: int, known: Host | None
) -> tuple[Host | None, list[str]]:
    """The host as answered, and what is wrong with its records.

    None if key or allowed IPs cannot be told. Where only its endpoints cannot, they stay as `known`.
    """
    key, wrong_key = _key(name, answers.keys)
    allowed, wrong_allowed = _allowed(name, answers.allowed)
    endpoints, wrong_endpoints = _endpoints(name, answers, port)
    wrong = [*_unanswered(answers), *wrong_key, *wrong_allowed, *wrong_endpoints]
    if key is None or not allowed:
        return None, wrong
    if endpoints is None:
        endpoints = known.endpoints if known else ()
    return Host(name, key, allowed, endpoints), wrong


def smallest_ttl(zone: Zone) -> int | None:
    """Of all records used, in s."""
    answers = [zone.names.ttl] + [
        answer.ttl
        for host in zone.hosts.values()
        for answer in (host.keys, host.allowed, host.addresses, host.services)
    ]
    return min((each for each in answers if each is not None), default=None)


def has_errors(zone: Zone) -> bool:
    """Whether some question was not answered, so that asking again soon may help."""
    return bool(zone.names.error) or any(
        answer.error
        for host in zone.hosts.values()
        for answer in (host.keys, host.allowed, host.addresses, host.services)
    )


def by_number(ip: IPAddress) -> tuple[int, int]:
    """Sorts addresses: IPv4 first, then numerically."""
    return ip.version, int(ip)


def _unanswered(answers: HostAnswers) -> list[str]:
    """A line for each reason, not for each question: a zone that is broken is broken as a whole."""
    errors = {
        "its key": answers.keys.error,
        "its allowed IPs": answers.allowed.error,
        "its addresses": answers.addresses.error,
        "its port": answers.services.error,
    }
    reasons: dict[str, list[str]] = {}
    for what, error in errors.items():
        if error:
            reasons.setdefault(error, []).append(what)
    return [f"no answer about {', '.join(whats)}: {reason}" for reason, whats in reasons.items()]


def _key(name: str, answer: Answer[bytes]) -> tuple[Key | None, list[str]]:
    where = KEY_LABEL + name
    if answer.error:
        return None, []
    wrong = []
    keys: dict[Key, None] = {}
    for raw in answer.values:
        text = _decoded(raw)
        if text is None:
            wrong.append(f"a TXT record of {where} is not UTF-8: {raw[:40]!r}")
            continue
        try:
            keys[parse_key(text.strip())] = None
        except ValueError as error:
            wrong.append(f'"{text[:80]}" at {where} is no key: {error}')
    if len(keys) > 1:
        return None, [*wrong, f"{where} has more than one key"]
    if not keys and not wrong:
        wrong.append(f"{where} has no TXT record with a key")
    return next(iter(keys), None), wrong


def _allowed(name: str, answer: Answer[IPAddress]) -> tuple[tuple[IPAddress, ...], list[str]]:
    where = KEY_LABEL + name
    if answer.error:
        return (), []
    usable = sorted({each for each in answer.values if can_be_a_host(each)}, key=by_number)
    wrong = [
        f"{each} at {where} is not an address a host can have in a mesh"
        for each in sorted(set(answer.values) - set(usable), key=by_number)
    ]
    if not usable and not wrong:
        wrong.append(f"{where} has no A or AAAA record with an allowed IP")
    if len(usable) > MAX_ADDRESSES:
        wrong.append(f"{where} has more than {MAX_ADDRESSES} allowed IPs: the rest is left out")
    return tuple(usable[:MAX_ADDRESSES]), wrong


def _endpoints(name: str, answers: HostAnswers, port: int) -> tuple[tuple[Endpoint, ...] | None, list[str]]:
    """None if they cannot be told."""
    if answers.addresses.error or answers.services.error:
        return None, []
    services = sorted(answers.services.values, key=lambda each: (each.priority, -each.weight, each.port))
    if services and not services[0].port:
        return None, [f"the SRV record {PORT_LABEL}{name} has port 0"]
    port = services[0].port if services else port
    addresses = sorted(set(answers.addresses.values), key=by_number)
    return tuple(Endpoint(each, port) for each in addresses[:MAX_CONFIGURED]), []


def _decoded(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
