"""What is opened of what comes through the tunnel, and what that costs who is flooded."""

from __future__ import annotations

import selectors
from ipaddress import ip_address
from typing import Any, cast

import msgpack
import pytest

from wgautomesh.exchange import MEMBER_BURST, MEMBER_SPACING, Exchange, Heard, Unreadable
from wgautomesh.messages import Hello
from wgautomesh.seal import Seal
from wgautomesh.tally import NEWER, NO_MEMBER, TOO_MANY
from wgautomesh.tunnel import Received
from wgautomesh.values import IPAddress, Key, Member

HUB, ALICE, BOB = (ip_address(f"10.14.0.{number}") for number in (1, 2, 3))
KEYS = {ip: Key(bytes([number]) * 32) for number, ip in enumerate((HUB, ALICE, BOB))}
GATEWAY = ip_address("10.20.0.1")  # and all of 10.20.0.0/16, a network behind bob


class Pipe:
    """Stands for a tunnel: keeps what was sent, and gives what is to be received."""

    def __init__(self, address: IPAddress) -> None:
        self.address = address
        self.sent: list[bytes] = []
        self.waiting: list[Received] = []
        self.muted: list[IPAddress] = []

    def send(self, to: IPAddress, data: bytes) -> bool:
        self.sent.append(data)
        return True

    def mute(self, addresses: list[IPAddress]) -> None:
        self.muted = addresses

    def receive(self, limit: int) -> list[Received]:
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return taken


class End:
    """The exchange of one node."""

    def __init__(self, address: IPAddress, secret: str = "a secret") -> None:  # noqa: S107
        self.pipe = Pipe(address)
        hear = cast(Any, None)
        self.exchange = Exchange(selectors.DefaultSelector(), Seal([secret], "gossip"), 1666, hear, owner)
        self.exchange._tunnels[4] = cast(Any, self.pipe)

    def says(self, to: IPAddress, number: int = 1) -> bytes:
        self.exchange.send(Member(KEYS[to], to), Hello(number, 0), 1.0)
        return self.pipe.sent[-1]

    def hears(self, source: IPAddress, *data: bytes, now: float = 1.0) -> list[Any]:
        self.pipe.waiting += [Received(source, each) for each in data]
        heard = []
        while self.pipe.waiting:
            heard += list(self.exchange.receive(cast(Any, self.pipe), now))
        return heard


def owner(ip: IPAddress) -> Key | None:
    return KEYS[BOB] if ip.packed[:2] == GATEWAY.packed[:2] else KEYS.get(ip)


def test_a_member_understands_another() -> None:
    assert End(HUB).hears(ALICE, End(ALICE).says(HUB, 7)) == [Heard(ALICE, Hello(7, 0))]


def test_what_was_sent_can_neither_be_sent_back_nor_passed_on() -> None:
    """Who has a member's key, but not the secret, hears sealed words in the tunnel."""
    word = End(HUB).says(ALICE)
    assert End(HUB).hears(ALICE, word) == [Unreadable(ALICE)]
    assert End(BOB).hears(ALICE, word) == [Unreadable(ALICE)]
    assert End(BOB).hears(HUB, word) == [Unreadable(HUB)]
    assert End(ALICE).hears(HUB, word) == [Heard(HUB, Hello(1, 0))]


def test_who_floods_with_good_datagrams_is_listened_to_at_a_rate_and_others_are_heard() -> None:
    hub, word, other = End(HUB), End(ALICE).says(HUB), End(BOB).says(HUB)
    flood = [word] * (2 * MEMBER_BURST)
    assert len(hub.hears(ALICE, *flood)) == MEMBER_BURST
    assert hub.exchange.tally.rejected[TOO_MANY] == MEMBER_BURST
    assert hub.hears(BOB, other) == [Heard(BOB, Hello(1, 0))]
    assert hub.pipe.muted == [ALICE]
    assert len(hub.hears(ALICE, *flood, now=2.0)) == pytest.approx(1 / MEMBER_SPACING, abs=1)


def test_who_flooded_is_heard_again_when_we_next_have_something_to_say() -> None:
    hub, word = End(HUB), End(ALICE).says(HUB)
    hub.hears(ALICE, *[word] * (MEMBER_BURST + 1))
    hub.exchange.send(Member(KEYS[BOB], BOB), Hello(1, 0), 1.9)
    assert hub.pipe.muted == [ALICE]
    hub.exchange.send(Member(KEYS[BOB], BOB), Hello(1, 0), 2.0)
    assert hub.pipe.muted == []


def test_the_addresses_behind_a_gateway_share_its_rate() -> None:
    hub = End(HUB)
    heard = [hub.hears(GATEWAY + number, bytes(100)) for number in range(MEMBER_BURST + 100)]
    assert sum(map(len, heard)) == MEMBER_BURST
    assert len(hub.exchange._budgets) == 1


def test_what_comes_from_nobodys_address_is_not_opened() -> None:
    hub = End(HUB)
    assert hub.hears(ip_address("10.99.0.1"), End(ALICE).says(HUB)) == []
    assert hub.exchange.tally.rejected[NO_MEMBER] == 1


def test_a_member_that_speaks_ever_newer_versions_makes_one_line(caplog: pytest.LogCaptureFixture) -> None:
    hub, alice = End(HUB), Seal(["a secret"], "gossip")
    way = ALICE.packed + HUB.packed
    assert (
        hub.hears(ALICE, *(alice.seal(msgpack.packb([major, 0, {}]), way) for major in range(2, 900))) == []
    )
    assert hub.exchange.tally.rejected[NEWER] == 898
    assert [record.getMessage() for record in caplog.records] == [
        "10.14.0.2 speaks protocol version 2, which is not understood here: update this node"
    ]


def test_who_is_no_member_any_more_is_forgotten() -> None:
    hub = End(HUB)
    hub.hears(ALICE, bytes(100))
    hub.exchange.forget({KEYS[BOB]})
    assert not hub.exchange._budgets
