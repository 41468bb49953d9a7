"""LAN beacons: two members find each other, and nobody else is ever found, whatever is replayed or forged."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey

from wgautomesh.beacon import (
    CHALLENGES_PER_SECOND,
    CHALLENGES_PER_SOURCE,
    NONCE_LIFETIME,
    PROOF_FRESH,
    Beacons,
    Found,
    Reply,
)
from wgautomesh.seal import Seal
from wgautomesh.values import Endpoint, IPAddress, Key

BEACON, CHALLENGE, PROOF = 0, 1, 2
PORT = 51820


class Node:
    """One member's Beacons, with the address and secret it has. Time stands still unless a test moves it."""

    def __init__(self, number: int, members: set[Key]) -> None:
        self.private = PrivateKey(bytes([number]) * 32)
        self.key = Key(bytes(self.private.public_key))
        self.ip: IPv4Address | IPv6Address = IPv4Address(f"192.168.1.{number}")
        self.port = PORT + number
        self.beacons = Beacons(bytes(self.private), self.key, lambda: members)
        members.add(self.key)

    def beacon(self, now: float = 0.0) -> bytes:
        return self.beacons.beacon([self.ip], now)

    def hear(self, plain: bytes, source: IPAddress, now: float = 0.0) -> list[Reply | Found]:
        return self.beacons.receive(plain, source, [self.ip], self.port, now)


@pytest.fixture
def trio() -> tuple[Node, Node, Node]:
    """Alice and Bob, and Mallory, who is a member too and knows the secret."""
    members: set[Key] = set()
    return Node(1, members), Node(2, members), Node(3, members)


def only_reply(heard: list[Reply | Found]) -> Reply:
    (reply,) = heard
    assert isinstance(reply, Reply)
    return reply


def converse(start: bytes, sender: Node, hearer: Node, now: float = 0.0) -> dict[Key, list[Found]]:
    """Deliver a datagram and everything said in answer to it; what each side found."""
    found: dict[Key, list[Found]] = {sender.key: [], hearer.key: []}
    wire = [(start, sender, hearer)]
    for _ in range(20):
        if not wire:
            return found
        plain, origin, target = wire.pop(0)
        for each in target.hear(plain, origin.ip, now):
            if isinstance(each, Found):
                found[target.key].append(each)
            else:
                assert each.to == origin.ip
                wire.append((each.plain, target, origin))
    raise AssertionError("they never stop talking")


def test_one_beacon_lets_both_sides_find_each_other(trio: tuple[Node, Node, Node]) -> None:
    alice, bob, _ = trio
    found = converse(alice.beacon(), alice, bob)
    assert found[bob.key] == [Found(alice.key, Endpoint(alice.ip, alice.port))]
    assert found[alice.key] == [Found(bob.key, Endpoint(bob.ip, bob.port))]


def test_a_later_beacon_is_answered_again(trio: tuple[Node, Node, Node]) -> None:
    alice, bob, _ = trio
    converse(alice.beacon(), alice, bob)
    again = converse(alice.beacon(60.0), alice, bob, now=60.0)
    assert again[bob.key] == [Found(alice.key, Endpoint(alice.ip, alice.port))]


def test_what_we_say_ourselves_is_not_answered(trio: tuple[Node, Node, Node]) -> None:
    alice, _, _ = trio
    assert alice.hear(alice.beacon(), alice.ip) == []


def test_strangers_are_not_answered(trio: tuple[Node, Node, Node]) -> None:
    _, bob, _ = trio
    stranger = Node(9, set())
    assert bob.hear(stranger.beacon(), stranger.ip) == []


def test_a_beacon_replayed_from_another_host_is_not_answered(trio: tuple[Node, Node, Node]) -> None:
    alice, bob, mallory = trio
    assert bob.hear(alice.beacon(), mallory.ip) == []


def test_a_forged_source_gets_no_challenge_the_forger_could_read(trio: tuple[Node, Node, Node]) -> None:
    alice, bob, _ = trio
    assert only_reply(bob.hear(alice.beacon(), alice.ip)).to == alice.ip


def forged_beacon(victim: Node, forger: Node) -> bytes:
    """The secret is shared: any holder can say that a member it just heard is where itself is."""
    nonce = msgpack.unpackb(victim.beacon())[2]["n"]
    plain: bytes = msgpack.packb([1, BEACON, {"k": victim.key, "a": [forger.ip.packed], "n": nonce}])
    return plain


def test_a_challenge_passed_on_to_where_the_member_really_is_is_not_answered(
    trio: tuple[Node, Node, Node],
) -> None:
    alice, bob, mallory = trio
    challenge = only_reply(bob.hear(forged_beacon(alice, mallory), mallory.ip))
    assert challenge.to == mallory.ip
    assert alice.hear(challenge.plain, mallory.ip) == []
    assert alice.hear(challenge.plain, bob.ip) == []


@pytest.mark.parametrize("kind", [CHALLENGE, PROOF])
@pytest.mark.parametrize("claimed", ["victim", "itself", "challenger"])
def test_a_challenge_sent_back_to_the_challenger_proves_nothing(
    trio: tuple[Node, Node, Node], kind: int, claimed: str
) -> None:
    # A box between two keys opens in both directions, so whoever gets a challenge can send it back.
    alice, bob, mallory = trio
    challenge = only_reply(bob.hear(forged_beacon(alice, mallory), mallory.ip))
    boxed = msgpack.unpackb(challenge.plain)[2]["b"]
    key = {"victim": alice, "itself": mallory, "challenger": bob}[claimed].key
    assert bob.hear(msgpack.packb([1, kind, {"k": key, "b": boxed}]), mallory.ip) == []


@pytest.mark.parametrize(("kind", "speaker", "found"), [(PROOF, 1, 1), (CHALLENGE, 1, 0), (PROOF, 2, 0)])
def test_the_box_itself_says_what_it_is_and_who_speaks(
    trio: tuple[Node, Node, Node], kind: int, speaker: int, found: int
) -> None:
    alice, bob, _ = trio
    challenge = only_reply(bob.hear(alice.beacon(), alice.ip))
    box = Box(alice.private, PublicKey(bob.key))
    nonce = box.decrypt(msgpack.unpackb(challenge.plain)[2]["b"])[33:49]
    said_by = {1: alice, 2: bob}[speaker]
    boxed = bytes(box.encrypt(bytes([kind]) + said_by.key + nonce + PORT.to_bytes(2, "big")))
    assert len(bob.hear(msgpack.packb([1, PROOF, {"k": alice.key, "b": boxed}]), alice.ip)) == found


def test_a_proof_counts_once(trio: tuple[Node, Node, Node]) -> None:
    alice, bob, _ = trio
    challenge = only_reply(bob.hear(alice.beacon(), alice.ip))
    proof = alice.hear(challenge.plain, bob.ip)[0]
    assert isinstance(proof, Reply)
    assert bob.hear(proof.plain, alice.ip) == [Found(alice.key, Endpoint(alice.ip, alice.port))]
    assert bob.hear(proof.plain, alice.ip) == []


def test_a_proof_counts_only_from_the_address_that_was_asked(trio: tuple[Node, Node, Node]) -> None:
    alice, bob, mallory = trio
    challenge = only_reply(bob.hear(alice.beacon(), alice.ip))
    proof = alice.hear(challenge.plain, bob.ip)[0]
    assert isinstance(proof, Reply)
    assert bob.hear(proof.plain, mallory.ip) == []


def test_a_late_proof_does_not_count(trio: tuple[Node, Node, Node]) -> None:
    alice, bob, _ = trio
    challenge = only_reply(bob.hear(alice.beacon(), alice.ip))
    proof = alice.hear(challenge.plain, bob.ip)[0]
    assert isinstance(proof, Reply)
    assert bob.hear(proof.plain, alice.ip, now=NONCE_LIFETIME + 0.1) == []


def test_without_the_private_key_nothing_is_proved(trio: tuple[Node, Node, Node]) -> None:
    alice, bob, mallory = trio
    challenge = only_reply(bob.hear(forged_beacon(alice, mallory), mallory.ip))
    boxed = msgpack.unpackb(challenge.plain)[2]["b"]
    box = Box(mallory.private, PublicKey(bob.key))
    with pytest.raises(CryptoError):
        box.decrypt(boxed)
    guess = bytes(box.encrypt(bytes(200)))
    assert bob.hear(msgpack.packb([1, PROOF, {"k": alice.key, "b": guess}]), mallory.ip) == []


def test_a_beacon_under_another_secret_or_purpose_does_not_open(trio: tuple[Node, Node, Node]) -> None:
    alice, _, _ = trio
    beacon = alice.beacon()
    sealed = Seal(["the secret"], "beacon").seal(beacon)
    assert Seal(["the secret"], "beacon").open(sealed) == beacon
    assert Seal(["another"], "beacon").open(sealed) is None
    assert Seal(["the secret"], "gossip").open(sealed) is None


def test_an_old_challenge_replayed_is_not_answered(trio: tuple[Node, Node, Node]) -> None:
    alice, bob, _ = trio
    challenge = only_reply(bob.hear(alice.beacon(), alice.ip))
    later = NONCE_LIFETIME + 0.1
    alice.beacon(later)
    assert alice.hear(challenge.plain, bob.ip, later) == []


def test_a_challenge_that_comes_twice_is_answered_once(trio: tuple[Node, Node, Node]) -> None:
    alice, bob, _ = trio
    challenge = only_reply(bob.hear(alice.beacon(), alice.ip))
    assert alice.hear(challenge.plain, bob.ip)
    assert alice.hear(challenge.plain, bob.ip) == []


def test_a_challenge_to_a_beacon_we_never_sent_is_not_answered(trio: tuple[Node, Node, Node]) -> None:
    alice, bob, _ = trio
    forged = msgpack.packb([1, BEACON, {"k": alice.key, "a": [alice.ip.packed], "n": bytes(16)}])
    assert alice.hear(only_reply(bob.hear(forged, alice.ip)).plain, bob.ip) == []


def test_who_proved_to_be_there_a_moment_ago_is_not_asked_in_return(trio: tuple[Node, Node, Node]) -> None:
    alice, bob, _ = trio
    for now, both in ((0.0, True), (5.0, False), (5.0 + PROOF_FRESH, True)):
        found = converse(alice.beacon(now), alice, bob, now)
        assert found[bob.key] and bool(found[alice.key]) is both


def test_who_left_the_lan_and_is_back_asks_in_return_again(trio: tuple[Node, Node, Node]) -> None:
    """Else only the one that stayed would know, and the link would have to be moved by one side alone."""
    alice, bob, _ = trio
    converse(alice.beacon(), alice, bob)
    alice.beacons.moved()
    assert converse(alice.beacon(5.0), alice, bob, now=5.0)[alice.key]


def test_a_flood_of_beacons_costs_a_few_challenges_a_second() -> None:
    members: set[Key] = set()
    bob, *others = (Node(number, members) for number in range(1, 60))
    asked = [sum(len(bob.hear(each.beacon(), each.ip, now)) for each in others) for now in (0.0, 0.5, 1.0)]
    assert asked == [CHALLENGES_PER_SECOND, 0, CHALLENGES_PER_SECOND]


def test_a_host_that_floods_leaves_challenges_for_others(trio: tuple[Node, Node, Node]) -> None:
    alice, bob, mallory = trio
    flood = [len(bob.hear(mallory.beacon(), mallory.ip)) for _ in range(100)]
    assert sum(flood) == CHALLENGES_PER_SOURCE
    only_reply(bob.hear(alice.beacon(), alice.ip))


def test_a_beacon_heard_twice_is_answered_once(trio: tuple[Node, Node, Node]) -> None:
    alice, bob, _ = trio
    beacon = alice.beacon()
    only_reply(bob.hear(beacon, alice.ip))
    assert bob.hear(beacon, alice.ip) == []


def test_recorded_beacons_replayed_by_a_stranger_use_up_no_challenges(trio: tuple[Node, Node, Node]) -> None:
    """With the addresses of those who sent them: he needs no secret for that."""
    a, b, _ = trio
    sent = [b.beacon(minute * 60.0) for minute in range(100)]
    for minute, beacon in enumerate(sent):
        assert a.hear(beacon, b.ip, minute * 60.0)
    later = 6000.0
    assert not [reply for beacon in sent for reply in a.hear(beacon, b.ip, later)]
    assert a.hear(b.beacon(later), b.ip, later)


def test_what_is_remembered_of_beacons_is_bounded(
    trio: tuple[Node, Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wgautomesh.beacon.MAX_ASKED", 20)
    a, b, _ = trio
    for second in range(30):
        only_reply(a.hear(b.beacon(float(second)), b.ip, float(second)))
    assert len(a.beacons._asked) == 20


def test_link_local_addresses_are_found_with_their_link(trio: tuple[Node, Node, Node]) -> None:
    alice, bob, _ = trio
    alice.ip, bob.ip = IPv6Address("fe80::1%2"), IPv6Address("fe80::2%2")
    found = converse(alice.beacon(), alice, bob)
    assert found[bob.key] == [Found(alice.key, Endpoint(IPv6Address("fe80::1%2"), alice.port))]
    assert found[alice.key]


nonsense = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=80)
    | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("kabn"), inner, max_size=3),
    max_leaves=10,
)
TARGET, SPEAKER = Node(1, set()), Node(2, set())
WELCOME = Beacons(bytes(TARGET.private), TARGET.key, lambda: {SPEAKER.key})


@given(st.binary(max_size=200) | st.builds(msgpack.packb, nonsense))
def test_noise_is_not_answered(noise: bytes) -> None:
    assert WELCOME.receive(noise, SPEAKER.ip, [TARGET.ip], PORT, 0.0) == []


@given(
    st.integers(0, 4),
    st.fixed_dictionaries({"k": st.just(SPEAKER.key), "a": nonsense, "b": nonsense, "n": nonsense}),
)
def test_nonsense_in_a_members_name_finds_nobody(kind: int, body: object) -> None:
    heard = WELCOME.receive(msgpack.packb([1, kind, body]), SPEAKER.ip, [TARGET.ip], PORT, 0.0)
    assert not any(isinstance(each, Found) for each in heard)


@given(st.binary(max_size=120), st.sampled_from([CHALLENGE, PROOF]))
def test_a_members_own_box_with_anything_in_it_finds_nobody(inside: bytes, kind: int) -> None:
    boxed = bytes(Box(SPEAKER.private, PublicKey(TARGET.key)).encrypt(inside))
    plain = msgpack.packb([1, kind, {"k": SPEAKER.key, "b": boxed}])
    assert WELCOME.receive(plain, SPEAKER.ip, [TARGET.ip], PORT, 0.0) == []
