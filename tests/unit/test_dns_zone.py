"""What records mean, and what a broken one costs: itself, and nobody else."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from wgautomesh.dnsmesh.zone import (
    MAX_ADDRESSES,
    MAX_HOSTS,
    Answer,
    Host,
    HostAnswers,
    Service,
    Zone,
    has_errors,
    host_name,
    host_names,
    read_host,
    smallest_ttl,
)
from wgautomesh.values import Endpoint, IPAddress, Key, key_text

KEY = Key(b"k" * 32)
OTHER = Key(b"o" * 32)
NAME = "node-a.example.com"
PORT = 51820


def ips(*texts: str) -> tuple[IPAddress, ...]:
    return tuple(ip_address(each) for each in texts)


def key_record(key: Key) -> bytes:
    return key_text(key).encode()


GOOD = HostAnswers(
    keys=Answer((key_record(KEY),), 300),
    allowed=Answer(ips("10.14.0.1", "fd14::1", "10.2.0.1"), 200),
    addresses=Answer(ips("203.0.113.9"), 400),
)
KNOWN = Host(NAME, KEY, ips("10.14.0.1"), (Endpoint(ip_address("203.0.113.7"), 7),))


def test_a_whole_host() -> None:
    host, wrong = read_host(NAME, GOOD, PORT, None)
    endpoints = (Endpoint(ip_address("203.0.113.9"), PORT),)
    assert (host, wrong) == (Host(NAME, KEY, ips("10.2.0.1", "10.14.0.1", "fd14::1"), endpoints), [])


def test_the_port_is_that_of_the_best_srv_record() -> None:
    services = Answer((Service(10, 5, 1), Service(0, 1, 2), Service(0, 9, 3)), 60)
    host, _ = read_host(NAME, replace(GOOD, services=services), PORT, None)
    assert host and [each.port for each in host.endpoints] == [3]


def test_a_host_that_cannot_be_reached_still_belongs() -> None:
    host, wrong = read_host(NAME, replace(GOOD, addresses=Answer()), PORT, KNOWN)
    assert host and host.endpoints == () and not wrong


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"keys": Answer(error="SERVFAIL")}, "no answer about its key: SERVFAIL"),
        ({"keys": Answer()}, "has no TXT record with a key"),
        ({"keys": Answer((b"\xff\xfe",), 30)}, "is not UTF-8"),
        ({"keys": Answer((b"not a key",), 30)}, "is no key: not base64"),
        ({"keys": Answer((b"QUJD",), 30)}, "is no key: 3 bytes long"),
        ({"keys": Answer((key_record(KEY), key_record(OTHER)), 30)}, "has more than one key"),
        ({"allowed": Answer(error="no answer from 10.0.0.53:53")}, "no answer from 10.0.0.53:53"),
        ({"allowed": Answer()}, "has no A or AAAA record"),
        ({"allowed": Answer(ips("224.0.0.1"), 30)}, "224.0.0.1 at _wireguard.node-a.example.com is not"),
        ({"allowed": Answer(ips("fe80::1"), 30)}, "is not an address a host can have"),
    ],
)
def test_a_host_with_a_broken_record_is_none_and_the_record_is_named(
    broken: dict[str, Answer[object]], said: str
) -> None:
    host, wrong = read_host(NAME, replace(GOOD, **broken), PORT, KNOWN)  # type: ignore[arg-type]
    assert host is None
    (text,) = wrong
    assert said in text


def test_a_zone_that_is_broken_as_a_whole_is_one_line() -> None:
    failed = Answer(error="SERVFAIL")  # type: ignore[var-annotated]
    host, wrong = read_host(NAME, HostAnswers(failed, failed, failed, failed), PORT, KNOWN)
    assert host is None
    assert wrong == ["no answer about its key, its allowed IPs, its addresses, its port: SERVFAIL"]


@pytest.mark.parametrize(
    "broken",
    [
        {"addresses": Answer(error="SERVFAIL")},
        {"services": Answer(error="SERVFAIL")},
        {"services": Answer((Service(0, 0, 0),), 30)},
    ],
)
def test_where_only_the_endpoints_are_broken_they_stay(broken: dict[str, Answer[object]]) -> None:
    host, wrong = read_host(NAME, replace(GOOD, **broken), PORT, KNOWN)  # type: ignore[arg-type]
    assert host and host.endpoints == KNOWN.endpoints and len(host.addresses) == 3 and len(wrong) == 1
    new, _ = read_host(NAME, replace(GOOD, **broken), PORT, None)  # type: ignore[arg-type]
    assert new and new.endpoints == ()


def test_a_good_record_beside_a_broken_one_counts() -> None:
    keys = Answer((b"\xff", key_record(KEY), b"v=spf1 -all"), 30)
    host, wrong = read_host(NAME, replace(GOOD, keys=keys), PORT, None)
    assert host and host.key == KEY and len(wrong) == 2


def test_allowed_ips_are_bounded() -> None:
    many = Answer(tuple(ip_address(f"10.14.1.{number}") for number in range(1, 200)), 30)
    host, wrong = read_host(NAME, replace(GOOD, allowed=many), PORT, None)
    assert host and len(host.addresses) == MAX_ADDRESSES and len(wrong) == 1


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("node-a.example.com", "node-a.example.com"),
        (" Node-A.Example.COM. ", "node-a.example.com"),
        ("", None),
        (".", None),
        ("a..b", None),
        ("-a.example", None),
        ("a b.example", None),
        ("a\nforged line", None),
        ("bücher.example", None),
        ("a" * 64 + ".example", None),
        (".".join(["a" * 60] * 4), None),  # too long with what we put before it
    ],
)
def test_names(text: str, name: str | None) -> None:
    assert host_name(text) == name


def test_members_are_named_once_and_what_is_no_name_is_said() -> None:
    names, wrong = host_names([b"b.example", b"A.example.", b"b.example", b"\xff\xfe", b"no name", b""])
    assert names == ["b.example", "a.example"]
    assert [text.partition(":")[0] for text in wrong] == [
        "a TXT record is not UTF-8",
        '"no name" is no host name',
        '"" is no host name',
    ]


def test_a_zone_gone_wild_is_cut_off() -> None:
    names, wrong = host_names([f"n{number}.example".encode() for number in range(5000)])
    assert len(names) == MAX_HOSTS and len(wrong) == 1


def test_the_smallest_ttl_of_all_records_counts_and_the_lack_of_records_does_not() -> None:
    zone = Zone(Answer((NAME.encode(),), 500), {NAME: GOOD})
    assert smallest_ttl(zone) == 200
    assert smallest_ttl(Zone(Answer())) is None
    assert not has_errors(zone)
    assert has_errors(Zone(zone.names, {NAME: replace(GOOD, services=Answer(error="SERVFAIL"))}))
