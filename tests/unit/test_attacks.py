"""What members that lie cannot do: the core under any sequence of events, and a mesh with a liar in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_network
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.world import Node, World, build
from wgautomesh.candidates import MAX_CANDIDATES
from wgautomesh.effects import Admit, Change, Effect, Look, Readd, Remove, Resolve, Send
from wgautomesh.link import PROBES_KEPT, State
from wgautomesh.mesh import Mesh, Past
from wgautomesh.messages import (
    BUCKETS,
    MAX_PLAIN,
    WIRE_KINDS,
    Answer,
    AskLinks,
    Hello,
    Introduce,
    Introduction,
    Kind,
    Links,
    LinkWord,
    Message,
    Nat,
    Path,
    Record,
    Records,
    Route,
    Seek,
    Summary,
    decode,
    encode,
)
from wgautomesh.standpoint import Surroundings
from wgautomesh.values import Device, Endpoint, HostPort, IPNetwork, Key, Member, Peer

OWN, STRANGER, FORMER, NOBODY = (Key(letter * 32) for letter in (b"m", b"x", b"y", b"z"))
LEFT_OUT = Member(Key(b"l" * 32), ip_address("10.14.0.99"))  # a stranger holds its address
KEYS = tuple(Key(letter * 32) for letter in (b"a", b"b", b"n", b"o"))  # two lower than ours, two higher
MEMBERS = tuple(
    Member(key, ip_address(f"10.14.0.{number}"), (endpoint,) if endpoint else ())
    for number, (key, endpoint) in enumerate(
        zip(KEYS, (Endpoint(ip_address("44.128.1.1"), 1), HostPort("b.example", 2), None, None), strict=True),
        start=1,
    )
)
EXTRA = ip_network("10.20.0.0/16")  # behind every member, and the user's to give
SECRET = b"p" * 32
EFFECTS_OF_ONE = 100  # of one event, in a mesh of five; a message answered by more would be an amplifier
TURNS = 20  # ticks at one and the same time until the core must want to wait

# Some that are nobody's: private, loopback, our own, in the mesh, port 0.
ODD = tuple(
    Endpoint(ip_address(ip), port)
    for ip, port in (
        ("127.0.0.1", 9),
        ("10.14.0.3", 9),
        ("192.168.1.5", 9),
        ("fe80::1", 9),
        ("44.128.2.9", 0),
    )
)
PLACES = tuple(Endpoint(ip_address(f"44.128.2.{number}"), 51820) for number in range(1, 25))

endpoints = st.sampled_from(PLACES + ODD)
keys = st.sampled_from((*KEYS, OWN, STRANGER, NOBODY))
numbers = st.integers(0, 2**32 - 1)
digests = st.integers(0, 2**64 - 1)
records = st.builds(
    Record,
    key=keys,
    version=numbers,
    nat=st.sampled_from(Nat),
    routes=st.lists(
        st.builds(Route, st.sampled_from(WIRE_KINDS), endpoints, st.integers(0, 10**9)), max_size=8
    ).map(tuple),
)
seconds = st.integers(0, 9_999).map(lambda ms: ms / 1000)
introductions = st.builds(Introduction, keys, st.none() | records, endpoints, seconds, seconds)
link_words = st.builds(LinkWord, keys, st.none() | st.sampled_from(Path), st.none() | seconds)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, numbers, digests, st.none() | endpoints),
    st.builds(Answer, numbers, digests, st.none() | endpoints),
    st.builds(Records, st.lists(records, max_size=6).map(tuple)),
    st.builds(Summary, st.lists(numbers, min_size=BUCKETS, max_size=BUCKETS).map(tuple), st.booleans()),
    st.builds(Seek, st.lists(keys, max_size=20).map(tuple)),
    st.builds(Introduce, st.lists(introductions, max_size=6).map(tuple)),
    st.builds(AskLinks, numbers),
    st.builds(Links, numbers, st.integers(0, 2**16 - 1), st.lists(link_words, max_size=20).map(tuple)),
)
members = st.sampled_from(MEMBERS)


class AnySequence(RuleBasedStateMachine):
    """One core, a model of its interface, and members who say whatever they like."""

    @initialize(seed=st.integers(0, 2**16))
    def start(self, seed: int) -> None:
        self.now = 1000.0
        self.members: tuple[Member, ...] = (*MEMBERS, LEFT_OUT)
        self.index = 1
        self.looks = 0
        self.peers: dict[Key, Peer] = {
            STRANGER: Peer(STRANGER, None, SECRET, 0, (ip_network(LEFT_OUT.address),)),
            FORMER: Peer(FORMER, None, None, 20, (ip_network("10.14.0.77"),)),
        }
        past = Past({KEYS[3]: PLACES[:2]}, frozenset({FORMER}))
        self.mesh = Mesh(OWN, self.members, rng=Random(seed), now=self.now, past=past)
        self.configured: dict[Key, tuple[bytes | None, frozenset[IPNetwork]]] = {}
        self.do(self.mesh.network(self._surroundings(5), self.now))
        self.do(self.mesh.device(self._device(), self.now))

    # -- events ---------------------------------------------------------------------------------------

    @rule(sender=members, message=messages)
    def says(self, sender: Member, message: Message) -> None:
        self._through_the_tunnel(sender)
        self._event(lambda: self.mesh.receive(sender.address, message, self.now))

    @rule(sender=members)
    def answers_what_was_asked(self, sender: Member) -> None:
        link = self.mesh.links.get(sender.key)
        for number, _ in link.probes[-1:] if link else ():
            self.says(sender, Answer(number, 0))

    @rule(sender=members, total=st.integers(0, 600), told=st.lists(link_words, max_size=20).map(tuple))
    def tells_of_its_links_when_asked(self, sender: Member, total: int, told: tuple[LinkWord, ...]) -> None:
        self.mesh.census.ask(self.now)
        effects = self.mesh.tick(self.now)
        self.do(effects)
        for each in effects:
            if isinstance(each, Send) and isinstance(each.message, AskLinks):
                self.says(sender, Links(each.message.number, total, told))

    @rule(sender=members, message=messages)
    def says_while_a_shot_waits_for_a_look(self, sender: Member, message: Message) -> None:
        due = self.mesh.next_tick()
        if due <= self.now + 60:
            self.now = max(self.now, due)
            self._event(lambda: self.mesh.tick(self.now))
        self.says(sender, message)
        self._settle()

    @rule(sender=members)
    def agent_is_down(self, sender: Member) -> None:
        self._through_the_tunnel(sender)
        self._event(lambda: self.mesh.refused(sender.address, self.now))

    @rule(sender=members)
    def speaks_with_another_secret(self, sender: Member) -> None:
        self._event(lambda: self.mesh.unreadable(sender.address, self.now))

    @rule(
        member=members, endpoint=st.sampled_from(PLACES), shakes=st.booleans(), received=st.integers(0, 500)
    )
    def packets_come(self, member: Member, endpoint: Endpoint, shakes: bool, received: int) -> None:
        peer = self.peers.get(member.key)
        if peer:
            handshake = int(self.now * 1e9) if shakes else peer.handshake
            self.peers[member.key] = replace(
                peer, endpoint=endpoint, handshake=handshake, rx_bytes=peer.rx_bytes + received
            )
        self._look()

    @rule(member=members)
    def the_user_gives_a_peer_more(self, member: Member) -> None:
        peer = self.peers.get(member.key)
        if peer and not any(EXTRA in each.allowed_ips for each in self.peers.values()):
            self.peers[member.key] = replace(
                peer, preshared_key=SECRET, allowed_ips=(*peer.allowed_ips, EXTRA), keepalive=5
            )
        self._look()

    @rule(member=members)
    def the_user_removes_a_peer(self, member: Member) -> None:
        self.peers.pop(member.key, None)
        self._look()

    @rule(member=members, endpoint=st.sampled_from(PLACES))
    def proves_itself_on_the_lan(self, member: Member, endpoint: Endpoint) -> None:
        self._event(lambda: self.mesh.found_on_lan(member.key, endpoint, self.now))

    @rule(found=st.lists(endpoints, max_size=3))
    def a_name_resolves(self, found: list[Endpoint]) -> None:
        self._event(lambda: self.mesh.resolved(KEYS[1], found, self.now))

    @rule(last=st.sampled_from([5, 6, 7]))
    def our_address_changes(self, last: int) -> None:
        self._event(lambda: self.mesh.network(self._surroundings(last), self.now))

    @rule()
    def the_machine_slept(self) -> None:
        self.now += 3600.0
        self._event(lambda: self.mesh.woke(self.now))

    @rule()
    def the_interface_is_made_anew(self) -> None:
        self._event(lambda: self.mesh.gone(self.now))
        for key in KEYS:
            self.peers.pop(key, None)
        self._look()

    @rule(days=st.sampled_from([1, 30]))
    def nobody_told_us_how_long_we_stood_still(self, days: int) -> None:
        self.now += days * 86_400.0
        self._event(lambda: self.mesh.tick(self.now))
        self._settle()

    @rule(member=members, back=st.sampled_from([1, 3600, 10**9]))
    def the_wall_clock_goes_back(self, member: Member, back: int) -> None:
        peer = self.peers.get(member.key)
        if peer and peer.handshake:
            shaken = max(1, int((self.now - back) * 1e9))
            self.peers[member.key] = replace(peer, handshake=shaken)
        self._look()

    @rule(found=st.lists(endpoints, max_size=2))
    def the_router_opens_a_port(self, found: list[Endpoint]) -> None:
        self._event(lambda: self.mesh.mapped(tuple(found), self.now))

    @rule(stays=st.sets(members))
    def the_member_list_changes(self, stays: set[Member]) -> None:
        self.members = (*(each for each in MEMBERS if each in stays), LEFT_OUT)
        self._event(lambda: self.mesh.reconfigure(self.members, self.now))
        self._look()

    @rule(passes=st.sampled_from([0.001, 0.1, 0.5, 1.0, 5.0, 45.0]))
    def time_passes(self, passes: float) -> None:
        end = self.now + passes
        for _ in range(1000):
            due = self.mesh.next_tick()
            if due > end:
                break
            self.now = max(self.now, due)
            self._event(lambda: self.mesh.tick(self.now))
            self._settle()
        self.now = end

    # -- what holds -----------------------------------------------------------------------------------

    @precondition(lambda self: hasattr(self, "mesh"))
    @invariant()
    def what_is_kept_is_bounded(self) -> None:
        belongs = {OWN, *(each.key for each in self.members)}
        assert set(self.mesh.gossip.book) <= belongs
        assert set(self.mesh.links) == belongs - {OWN}
        assert all(len(link.candidates) <= MAX_CANDIDATES for link in self.mesh.links.values())
        assert all(len(link.probes) <= PROBES_KEPT for link in self.mesh.links.values())
        assert all(len(link.in_place) <= MAX_CANDIDATES for link in self.mesh.links.values())
        assert set(self.mesh.census.heard) <= belongs
        assert all(set(said) <= belongs for said in self.mesh.census.heard.values())
        assert set(self.mesh.memory().endpoints) <= belongs and self.mesh.made <= belongs | {FORMER}

    @precondition(lambda self: hasattr(self, "mesh"))
    @invariant()
    def what_the_user_made_stays(self) -> None:
        assert self.peers[STRANGER] == Peer(STRANGER, None, SECRET, 0, (ip_network(LEFT_OUT.address),))
        assert LEFT_OUT.key not in self.peers
        assert FORMER not in self.peers

    def do(self, effects: Iterable[Effect], up: frozenset[Key] = frozenset()) -> None:
        """Carry the effects out, and check each; `up` are the links that were up when they were decided."""
        belongs = {each.key for each in self.members}
        for effect in effects:
            match effect:
                case Send(member, message):
                    assert member.key in belongs
                    assert len(encode(message)) <= MAX_PLAIN and decode(encode(message)) is not None
                case Admit(peers):
                    for peer in peers:
                        assert peer.key in belongs and peer.key not in self.peers
                        self.peers[peer.key] = peer
                case Change(key, endpoint, keepalive, allowed_ips):
                    assert key in belongs
                    if key in self.peers:  # else it was removed behind our back: a change makes nothing
                        peer = self.peers[key]
                        self.peers[key] = replace(
                            peer,
                            endpoint=endpoint or peer.endpoint,
                            keepalive=peer.keepalive if keepalive is None else keepalive,
                            allowed_ips=(*peer.allowed_ips, *allowed_ips),
                        )
                case Readd(peer):
                    assert peer.key in belongs
                    assert peer.key not in up and not self.mesh.links[peer.key].is_up
                    before = self.peers.get(peer.key)
                    if before:
                        assert peer.preshared_key == before.preshared_key
                        assert set(peer.allowed_ips) >= set(before.allowed_ips)
                    self.peers[peer.key] = peer
                case Remove(key):
                    assert key not in belongs and key != STRANGER
                    self.peers.pop(key, None)
                case Look():
                    self.looks += 1
                case Resolve(key, host, _):
                    assert (key, host) == (KEYS[1], "b.example")

    def _through_the_tunnel(self, sender: Member) -> None:
        """Whoever is heard has a session, and so an endpoint."""
        peer = self.peers.get(sender.key)
        if peer and not (peer.endpoint and peer.handshake):
            place = peer.endpoint or PLACES[MEMBERS.index(sender)]
            self.peers[sender.key] = replace(peer, endpoint=place, handshake=int(self.now * 1e9))

    def _event(self, happen: Callable[[], list[Effect]]) -> None:
        up = frozenset(key for key, link in self.mesh.links.items() if link.is_up)
        effects = happen()
        assert len(effects) <= EFFECTS_OF_ONE
        self.do(effects, up)

    def _look(self) -> None:
        self.looks = 0
        up = frozenset(key for key, link in self.mesh.links.items() if link.is_up)
        self.do(self.mesh.device(self._device(), self.now), up)
        self._settle()

    def _settle(self) -> None:
        """Ticks and looks at this very moment must come to an end."""
        for _ in range(TURNS):
            if self.looks:
                self._look_once()
            elif self.mesh.next_tick() <= self.now:
                self._event(lambda: self.mesh.tick(self.now))
            else:
                return
        raise AssertionError("busy without end")

    def _look_once(self) -> None:
        self.looks = 0
        up = frozenset(key for key, link in self.mesh.links.items() if link.is_up)
        self.do(self.mesh.device(self._device(), self.now), up)

    def _device(self) -> Device:
        return Device("wg", self.index, OWN, None, 51820, dict(self.peers))

    def _surroundings(self, last: int) -> Surroundings:
        lan = IPv4Interface(f"192.168.1.{last}/24")
        return Surroundings((lan,), (IPv4Interface("10.14.0.250/24"),))


AnySequence.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True
)
TestAnySequence = AnySequence.TestCase


# -- a liar in a mesh -------------------------------------------------------------------------------------

PLAN = {
    "hub": ("44.128.1.1", "none"),
    "liar": ("44.128.9.1", "none"),
    "a": ("44.128.2.1", "preserving"),
    "b": ("44.128.3.1", "preserving"),
}


def place(number: int) -> Endpoint:
    return Endpoint(ip_address("44.128.66.6"), 1024 + number % 60_000)


def introduced(number: int, about: Node) -> Message:
    return Introduce((Introduction(about.key, None, place(number), rtt=9.0, wait=9.0),))


def introduced_now(number: int, about: Node) -> Message:
    return Introduce((Introduction(about.key, None, place(number)),))


def recorded(number: int, about: Node) -> Message:
    routes = tuple(Route(kind, place(number + kind)) for kind in (Kind.LAN, Kind.OBSERVED, Kind.MAPPED))
    return Records((Record(about.key, number * 1000 % 2**32, Nat.CHANGING, routes),))


def seen_elsewhere(number: int, about: Node) -> Message:
    return Hello(number, 0, place(number))


LIES = ((introduced, 50), (recorded, 10), (seen_elsewhere, 10))  # with how many a second, about each to each


def lie(
    world: World,
    make: Callable[[int, Node], Message],
    rate: float,
    to: Sequence[str],
    about: Sequence[str],
    until: float,
) -> None:
    """`rate` times a second the liar tells each of `to` about each of `about`, over its good tunnels."""
    liar = world.nodes["liar"]

    def again(number: int) -> None:
        for name in to:
            for other in about:
                if other != name:
                    liar.send(world.nodes[name].key, make(number, world.nodes[other]))
        if world.now < until:
            world.at(world.now + 1 / rate, lambda: again(number + 1))

    again(1)


def honest(world: World) -> list[Node]:
    return [node for name, node in world.nodes.items() if name != "liar"]


@pytest.mark.parametrize(("make", "rate"), LIES)
def test_links_that_work_are_untouched_by_a_liar(make: Callable[[int, Node], Message], rate: float) -> None:
    world = World(1, one_way=0.025)
    build(world, PLAN, preset=("hub", "liar"))
    for node in world.nodes.values():
        node.start()
    world.run(20, until=world.connected)
    world.run(10)
    sessions = {
        (one.name, other.name): (one.peers[other.key].handshake, one.endpoint(other))
        for one in honest(world)
        for other in honest(world)
        if one is not other
    }
    readds = {node.name: len(node.readds) for node in honest(world)}
    names = [node.name for node in honest(world)]
    lie(world, make, rate, names, names, until=world.now + 15)
    world.run(15)
    for (one, other), (handshake, endpoint) in sessions.items():
        node, peer = world.nodes[one], world.nodes[other]
        link = node.mesh.links[peer.key] if node.mesh else None
        assert link and link.is_up
        assert (node.peers[peer.key].handshake, node.endpoint(peer)) == (handshake, endpoint)
    assert {node.name: len(node.readds) for node in honest(world)} == readds
    assert not [text for node in honest(world) for _, text in node.said if "silent" in text]


@pytest.mark.parametrize(("make", "rate"), LIES)
def test_a_pair_kept_apart_by_lies_meets_when_they_end(
    make: Callable[[int, Node], Message], rate: float
) -> None:
    world = World(1, one_way=0.025)
    nodes = build(world, PLAN, preset=("hub", "liar"))
    for name in ("hub", "liar", "a"):
        nodes[name].start()
    world.run(10)
    ends = world.now + 15
    lie(world, make, rate, ["a", "b"], ["a", "b"], until=ends)
    nodes["b"].start()
    world.run(15)
    assert world.run(45, until=lambda: world.connected("hub", "a") and world.connected("a", "b")) < 45


def test_forged_records_of_a_member_end_at_its_own_word() -> None:
    world = World(1, one_way=0.025)
    nodes = build(world, PLAN, preset=("hub", "liar"))
    for node in nodes.values():
        node.start()
    world.run(20, until=world.connected)
    world.run(10)
    b = nodes["b"]
    held = b.mesh.gossip.book.get(b.key) if b.mesh else None
    assert held
    for number, name in enumerate(("hub", "a", "b")):  # versions of which each outbids the next, in a circle
        forged = replace(held, version=(held.version + 1 + number * (2**32 // 3)) % 2**32, routes=())
        nodes["liar"].send(nodes[name].key, Records((forged,)))
    world.run(30)
    books = {node.mesh.gossip.book.digest for node in nodes.values() if node.mesh}
    routes = {node.mesh.gossip.book.get(b.key).routes for node in nodes.values() if node.mesh}  # type: ignore[union-attr]
    assert len(books) == 1 and routes == {held.routes}


def test_who_tries_a_liars_endpoints_shoots_seldom() -> None:
    """At an address somebody names, one who believes it sends a few packets a second at most."""
    world = World(1, one_way=0.025)
    nodes = build(world, PLAN, preset=("hub", "liar"))
    for name in ("hub", "liar", "a"):
        nodes[name].start()
    world.run(10)
    before = len(nodes["a"].readds)
    lie(world, introduced_now, 50, ["a"], ["b"], until=world.now + 30)  # b is not even there
    world.run(30)
    assert len(nodes["a"].readds) - before <= 30 / 0.35 + 1
    assert nodes["a"].state(nodes["b"]) is State.TRYING


@pytest.mark.parametrize("wait", [0.0, 9.9])
def test_a_pair_meets_although_somebody_lies_all_the_time(wait: float) -> None:
    world = World(1, one_way=0.025)
    nodes = build(world, PLAN, preset=("hub", "liar"))
    for name in ("hub", "liar", "a"):
        nodes[name].start()
    world.run(10)

    def waiting(number: int, about: Node) -> Message:
        return Introduce((Introduction(about.key, None, place(number), rtt=9.0, wait=wait),))

    lie(world, waiting, 20.0, ["a", "b"], ["a", "b"], until=world.now + 60)
    nodes["b"].start()
    assert world.run(60, until=lambda: world.connected("a", "b")) <= 20


def test_three_forged_records_of_one_who_is_away_do_not_chase_each_other() -> None:
    world = World(1, one_way=0.01)
    nodes = build(world, PLAN | {"away": ("44.128.7.1", "none")}, preset=tuple(PLAN))
    for name in PLAN:
        nodes[name].start()
    world.run(30)
    away = nodes["away"].key
    for number, name in enumerate(("hub", "a", "b")):  # each newer than the one before, in a circle
        nodes["liar"].send(nodes[name].key, Records((Record(away, 1 + number * (2**32 // 3)),)))
    world.run(5)
    began = sum(len(node.sent) for node in nodes.values())
    world.run(10)
    assert sum(len(node.sent) for node in nodes.values()) - began < 1000


def test_a_short_outage_heals_under_lies() -> None:
    world = World(1, one_way=0.025)
    nodes = build(world, PLAN, preset=("hub", "liar"))
    for node in nodes.values():
        node.start()
    world.run(20, until=world.connected)
    world.run(10)
    lie(world, introduced_now, 20.0, ["a", "b"], ["a", "b"], until=world.now + 120)
    world.dropped |= {("a", "b"), ("b", "a")}
    world.run(2.5)
    world.dropped.clear()
    assert world.run(60, until=lambda: world.connected("a", "b")) <= 10


def test_a_flood_of_one_member_leaves_room_for_another_until_the_next_look() -> None:
    world = World(1, one_way=0.01)
    nodes = build(world, PLAN, preset=("hub", "liar"))
    for node in nodes.values():
        node.start()
    world.run(20, until=world.connected)
    hub = nodes["hub"]
    mesh, later = hub.mesh, world.now + 5.0  # its last look is too old to say where it sees anybody
    assert mesh
    for number in range(5000):
        mesh.receive(nodes["liar"].member.address, Hello(number, 0), later)
    mesh.receive(nodes["a"].member.address, Hello(77, 0), later)
    answers = [each for each in mesh.device(hub.wireguard(), later) if isinstance(each, Send)]
    answered = [each.member.key for each in answers if isinstance(each.message, Answer)]
    assert nodes["a"].key in answered
    assert len(answered) <= 100


def readvertised(now: float) -> Surroundings:
    """Our addresses, of which one is new every 0.2 s."""
    passing = IPv6Interface(f"2001:db8:0:{int(now * 5):x}::5/64")
    return Surroundings((IPv4Interface("192.168.1.5/24"), passing), (IPv4Interface("10.14.0.250/24"),))


def test_addresses_that_change_all_the_time_make_little_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends router advertisements on our LAN gives us as many addresses as he likes."""
    world = World(1, one_way=0.025)
    nodes = build(world, PLAN, preset=("hub", "liar"))
    for node in nodes.values():
        node.start()
    world.run(20, until=world.connected)
    world.run(10)
    a = nodes["a"]
    monkeypatch.setattr(type(a), "surroundings", lambda node: readvertised(world.now))

    def again() -> None:
        a.network_changed()
        world.at(world.now + 0.2, again)

    again()
    world.run(20)  # whatever comes at once has come
    before = len(a.sent)
    world.run(10)
    assert world.connected()
    assert len(a.sent) - before < 150  # three links: a probe each in 4 s, 5 s, and a record each second


def test_addresses_that_change_all_the_time_do_not_begin_every_round_anew() -> None:
    two = tuple(Endpoint(ip_address(f"44.128.3.{number}"), 1) for number in (1, 2))
    member = Member(KEYS[0], MEMBERS[0].address, two)
    mesh, now = Mesh(OWN, [member], rng=Random(1), now=1000.0, past=Past()), 1000.0
    peers: dict[Key, Peer] = {}
    shots: list[Endpoint | None] = []

    def do(effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Admit):
                peers.update({peer.key: peer for peer in effect.peers})
            elif isinstance(effect, Readd):
                peers[effect.peer.key] = effect.peer
                shots.append(effect.peer.endpoint)

    for step in range(600):
        now = 1000.0 + step / 10
        if step % 2 == 0:
            do(mesh.network(readvertised(now), now))
        do(mesh.device(Device("wg", 1, OWN, None, 51820, dict(peers)), now))
        if mesh.next_tick() <= now:
            do(mesh.tick(now))
            assert mesh.next_tick() > now
    late = shots[len(shots) // 2 :]
    assert late.count(two[0]) and late.count(two[1]), late
