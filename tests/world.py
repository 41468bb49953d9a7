"""A world on a virtual clock: many nodes run the real core over a model of WireGuard, NATs and the Internet.

The model knows what the core depends on: one handshake initiation in 5 s, crossing initiations that cancel
each other, queues of packets that wait for a handshake, roaming, keepalives, port-restricted NATs. The lab
(tests/lab) shows the same on real parts; this one shows it in milliseconds, and the same for every seed.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface, ip_address, ip_network
from random import Random

from wgautomesh import messages
from wgautomesh.effects import Admit, Change, Effect, Look, Readd, Remove, Resolve, Say, Send
from wgautomesh.link import State
from wgautomesh.mesh import Mesh, Past
from wgautomesh.observer import Observer
from wgautomesh.standpoint import Surroundings
from wgautomesh.values import Device, Endpoint, IPAddress, Key, Member, Peer

PORT = 51820
REKEY_TIMEOUT = 5.0  # s between two handshake initiations (drivers/net/wireguard/messages.h)
KEEPALIVE_TIMEOUT = 10.0  # s
REKEY_AFTER = 120.0  # s after which the side that began a session renews it when it sends
REJECT_AFTER = 180.0  # s a session lives
NEW_HANDSHAKE_AFTER = KEEPALIVE_TIMEOUT + REKEY_TIMEOUT
NAT_TIMEOUT = 120.0  # s
QUEUE = 128  # packets that wait for a handshake


@dataclass(frozen=True, slots=True)
class Packet:
    kind: str  # initiation, response or data
    sender: Key
    number: int = 0
    session: int = 0
    payload: object = None
    size: int = 148


class World:
    """The clock, the wires between nodes, and the list of what is to come."""

    def __init__(self, seed: int = 1, *, one_way: float = 0.01, loss: float = 0.0) -> None:
        self.rng = Random(seed)
        self.now = 1000.0
        self.one_way = one_way
        self.loss = loss
        self.nodes: dict[str, Node] = {}
        self.sites: dict[IPAddress, Site] = {}
        self.dropped: set[tuple[str, str]] = set()  # one-way cuts between nodes, by name
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.numbers = itertools.count(1)

    def at(self, when: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(when, self.now), next(self._order), do))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> float:
        """Let time pass, `until` something holds; returns the seconds that passed."""
        began = self.now
        end = began + seconds
        while self._events and self._events[0][0] <= end:
            if until and until():
                return self.now - began
            self.now, _, do = heapq.heappop(self._events)
            do()
        if not (until and until()):
            self.now = end
        return self.now - began

    def carry(self, source: Endpoint, to: Endpoint, packet: Packet, sender: Node) -> None:
        """A packet leaves a site for a public address."""
        site = self.sites.get(to.ip)
        if site is None or self.rng.random() < self.loss:
            return
        self.at(self.now + self.one_way, lambda: site.receive(source, to, packet, sender))

    def connected(self, *names: str) -> bool:
        """Whether all the nodes named (else all) have each other up."""
        nodes = [self.nodes[name] for name in names] or list(self.nodes.values())
        return all(
            one.state(other) is State.CONNECTED for one in nodes for other in nodes if one is not other
        )


@dataclass
class Site:
    """One public address, with nothing or a NAT before the nodes behind it."""

    world: World
    public: IPAddress
    nat: str = "none"  # none, preserving or symmetric
    nodes: dict[IPAddress, Node] = field(default_factory=dict)
    table: dict[tuple[Endpoint, Endpoint], tuple[int, float]] = field(default_factory=dict)
    opened: dict[int, Endpoint] = field(default_factory=dict)  # ports that lead to a node, from anywhere

    def send(self, node: Node, to: Endpoint, packet: Packet) -> None:
        if to.ip in self.nodes:
            neighbour = self.nodes[to.ip]
            source = Endpoint(node.lan_ip, node.port)
            if to.port == neighbour.port:
                self.world.at(self.world.now + 0.0005, lambda: neighbour.arrived(source, packet, node))
        elif to.ip == self.public:
            return  # no hairpin
        elif self.nat == "none":
            self.world.carry(Endpoint(self.public, node.port), to, packet, node)
        else:
            port = self._map(Endpoint(node.lan_ip, node.port), to)
            self.world.carry(Endpoint(self.public, port), to, packet, node)

    def receive(self, source: Endpoint, to: Endpoint, packet: Packet, sender: Node) -> None:
        if to.ip != self.public:
            return  # the address changed while the packet was under way
        if self.nat == "none":
            (node,) = self.nodes.values()
            if to.port == node.port:
                node.arrived(source, packet, sender)
            return
        for (inside, outside), (port, used) in self.table.items():
            if port == to.port and outside == source and self.world.now - used < NAT_TIMEOUT:
                self.table[inside, outside] = (port, self.world.now)
                self.nodes[inside.ip].arrived(source, packet, sender)
                return
        if to.port in self.opened:
            inside = self.opened[to.port]
            self.table[inside, source] = (to.port, self.world.now)  # answers leave from there
            self.nodes[inside.ip].arrived(source, packet, sender)

    def move(self, public: IPAddress) -> None:
        """The provider gives another address."""
        del self.world.sites[self.public]
        self.public = public
        self.world.sites[public] = self
        self.table.clear()

    def _map(self, inside: Endpoint, outside: Endpoint) -> int:
        known = self.table.get((inside, outside))
        if known and self.world.now - known[1] < NAT_TIMEOUT:
            port = known[0]
        else:
            taken = {port for (other, _), (port, _) in self.table.items() if other.ip != inside.ip}
            port = (
                self.world.rng.randrange(1024, 65536)
                if self.nat == "symmetric" or inside.port in taken
                else inside.port
            )
        self.table[inside, outside] = (port, self.world.now)
        return port


@dataclass
class Session:
    """WireGuard's state for one peer."""

    endpoint: Endpoint | None = None
    keepalive: int = 0
    current: int = 0  # session number, 0 is none
    next: int = 0  # made as responder, not yet confirmed
    initiation: int = 0  # number of the handshake we began, 0 after we consumed one
    initiated: float = float("-inf")
    made: float = float("-inf")
    ours: bool = False  # we began the current session
    handshake: int = 0
    rx: int = 0
    queue: deque[object] = field(default_factory=lambda: deque(maxlen=QUEUE))
    sent: float | None = None  # first data that nothing came back to
    owed: float | None = None  # data came, nothing went back


class Node:
    """The real core over the model of an interface. `lan_ip` is its address behind its site's router."""

    def __init__(
        self, world: World, name: str, site: Site, lan_ip: IPAddress, member: Member, port: int
    ) -> None:
        self.port = port
        self.world, self.name, self.site, self.lan_ip, self.member = world, name, site, lan_ip, member
        self.key = member.key
        self.members: list[Member] = []
        self.peers: dict[Key, tuple[Peer, Session]] = {}
        self.mesh: Mesh | None = None
        self.said: list[tuple[float, str]] = []
        self.sent: list[tuple[float, str, object]] = []  # when, to whom, message
        self.readds: list[tuple[float, Key]] = []
        self.look_due: float | None = None
        self.has_agent = True
        self.observer = Observer()
        self.past = Past()
        site.nodes[lan_ip] = self

    # -- the agent ------------------------------------------------------------------------------------

    def start(self) -> None:
        rng = Random(self.world.rng.random())
        now = self.world.now
        self.mesh = Mesh(self.key, self.members, rng=rng, now=now, past=self.past)
        self.mesh.network(self._surroundings(), now)
        self._look()

    def stop(self, *, forget: bool = False) -> None:
        """Stop the agent; `forget` the interface as well."""
        if self.mesh:
            self.past = self.mesh.memory()
        self.mesh = None
        if forget:
            self.peers.clear()

    def state(self, other: Node) -> State | None:
        return self.mesh.links[other.key].state if self.mesh else None

    def endpoint(self, other: Node) -> Endpoint | None:
        return self.peers[other.key][1].endpoint if other.key in self.peers else None

    def device(self) -> Device:
        peers = {
            key: Peer(key, s.endpoint, peer.preshared_key, s.keepalive, peer.allowed_ips, s.handshake, s.rx)
            for key, (peer, s) in self.peers.items()
        }
        return Device(f"wg-{self.name}", 1, self.key, None, self.port, peers)

    def apply(self, effects: Sequence[Effect]) -> None:
        if self.mesh:
            self.observer.watch(self.mesh.links, effects, self.world.now)
        for effect in effects:
            match effect:
                case Send(member, message):
                    self.sent.append((self.world.now, str(member.name), message))
                    self.send(member.key, message)
                case Look():
                    if self.look_due is None:
                        self.look_due = self.world.now
                        self.world.at(self.world.now + 0.001, self._look)
                case Admit(peer):
                    _, session = self.peers.get(peer.key, (peer, Session()))
                    session.keepalive = peer.keepalive
                    self.peers[peer.key] = (peer, session)
                case Change(key, endpoint, keepalive, allowed_ips, replaced):
                    peer, session = self.peers[key]
                    kept = () if replaced else peer.allowed_ips
                    self.peers[key] = (replace(peer, allowed_ips=kept + allowed_ips), session)
                    session.endpoint = endpoint or session.endpoint
                    session.keepalive = keepalive if keepalive is not None else session.keepalive
                case Readd(peer):
                    self.readds.append((self.world.now, peer.key))
                    self.peers[peer.key] = (peer, Session(peer.endpoint, peer.keepalive))
                case Remove(key):
                    self.peers.pop(key, None)
                case Say(_, text):
                    self.said.append((self.world.now, text))
                case Resolve():
                    pass
        self._arm()

    def _look(self) -> None:
        self.look_due = None
        if self.mesh:
            self.apply(self.mesh.device(self.device(), self.world.now))

    def _arm(self) -> None:
        mesh = self.mesh
        if mesh:
            due = mesh.next_tick()
            if due < float("inf"):
                self.world.at(due, lambda: self._tick(mesh, due))

    def _tick(self, mesh: Mesh, due: float) -> None:
        if mesh is self.mesh and mesh.next_tick() <= self.world.now and due <= self.world.now:
            self.apply(mesh.tick(self.world.now))

    def _surroundings(self) -> Surroundings:
        return Surroundings((IPv4Interface(f"{self.lan_ip}/24"),), (IPv4Interface("10.14.0.0/16"),))

    # -- WireGuard ------------------------------------------------------------------------------------

    def send(self, key: Key, payload: object) -> None:
        if key not in self.peers:
            return
        _, s = self.peers[key]
        if s.current and self.world.now - s.made < REJECT_AFTER:
            self._data(s, payload)
            if s.ours and self.world.now - s.made > REKEY_AFTER:
                self._initiate(key, s)
            if s.sent is None:
                s.sent = sent = self.world.now
                self.world.at(sent + NEW_HANDSHAKE_AFTER, lambda: self._unanswered(key, s, sent))
        else:
            s.queue.append(payload)
            self._initiate(key, s)

    def arrived(self, source: Endpoint, packet: Packet, sender: Node) -> None:
        if packet.sender not in self.peers or (sender.name, self.name) in self.world.dropped:
            return
        _, s = self.peers[packet.sender]
        if packet.kind == "initiation":
            s.initiation = 0
            s.next = next(self.world.numbers)
            self._took(s, source, packet)
            self._transmit(s, Packet("response", self.key, packet.number, s.next, size=92))
        elif packet.kind == "response":
            if s.initiation and s.initiation == packet.number:
                s.initiation = 0
                self._took(s, source, packet)
                self._established(s, packet.session, ours=True)
                if not s.queue:
                    self._data(s, None)
                self._flush(packet.sender, s)
        elif packet.session and packet.session in (s.current, s.next):
            self._took(s, source, packet)
            if packet.session == s.next:
                self._established(s, s.next, ours=False)
                self._flush(packet.sender, s)
            self._deliver(packet, s)

    def _deliver(self, packet: Packet, s: Session) -> None:
        s.sent = None
        if packet.payload is None:
            return
        if s.owed is None:
            s.owed = owed = self.world.now
            self.world.at(owed + KEEPALIVE_TIMEOUT, lambda: self._owe(s, owed))
        message, mesh = packet.payload, self.mesh
        if mesh and message != "refused":
            decoded = messages.decode(messages.encode(message))  # type: ignore[arg-type]
            assert decoded is not None
            address = next(each.address for each in self.members if each.key == packet.sender)
            self.apply(mesh.receive(address, decoded, self.world.now))
        elif mesh:
            address = next(each.address for each in self.members if each.key == packet.sender)
            self.apply(mesh.refused(address, self.world.now))
        elif message != "refused" and self.has_agent:
            self.send(packet.sender, "refused")  # the system answers for a port nobody listens on

    def _took(self, s: Session, source: Endpoint, packet: Packet) -> None:
        s.endpoint = source
        s.rx += packet.size

    def _established(self, s: Session, number: int, *, ours: bool) -> None:
        s.current, s.next, s.made = number, 0, self.world.now
        s.ours = ours
        s.handshake = int(self.world.now * 1e9)
        self._keep_alive(s, number)

    def _flush(self, key: Key, s: Session) -> None:
        waiting, s.queue = list(s.queue), deque(maxlen=QUEUE)
        for payload in waiting:
            self.send(key, payload)

    def _data(self, s: Session, payload: object) -> None:
        s.owed = None
        self._transmit(
            s,
            Packet("data", self.key, session=s.current, payload=payload, size=32 if payload is None else 128),
        )

    def _transmit(self, s: Session, packet: Packet) -> None:
        if s.endpoint:
            self.site.send(self, s.endpoint, packet)

    def _initiate(self, key: Key, s: Session) -> None:
        if self.world.now - s.initiated < REKEY_TIMEOUT:
            return
        s.initiated = self.world.now
        s.initiation = next(self.world.numbers)
        self._transmit(s, Packet("initiation", self.key, s.initiation))
        number = s.initiation
        self.world.at(
            self.world.now + REKEY_TIMEOUT + self.world.rng.random() / 3, lambda: self._retry(key, s, number)
        )

    def _retry(self, key: Key, s: Session, number: int) -> None:
        if self.peers.get(key, (None, None))[1] is s and s.queue and s.initiation in (0, number):
            self._initiate(key, s)

    def _unanswered(self, key: Key, s: Session, sent: float) -> None:
        if self.peers.get(key, (None, None))[1] is s and s.sent == sent:
            s.sent = None
            self._initiate(key, s)

    def _owe(self, s: Session, owed: float) -> None:
        if s.owed == owed and s.current:
            self._data(s, None)

    def _keep_alive(self, s: Session, number: int) -> None:
        if s.keepalive and s.current == number:
            self.world.at(self.world.now + s.keepalive, lambda: self._kept(s, number))

    def _kept(self, s: Session, number: int) -> None:
        if s.current == number and any(each is s for _, each in self.peers.values()):
            self._data(s, None)
            self._keep_alive(s, number)


def build(
    world: World, plan: Mapping[str, tuple[str, str]], preset: Sequence[str] = ("hub",)
) -> dict[str, Node]:
    """Nodes by name from (public address, NAT kind); only the `preset` ones have a configured endpoint.

    Nodes that name the same public address share one site.
    """
    members = {}
    for number, (name, (public, _)) in enumerate(plan.items(), start=1):
        key = Key(world.rng.randbytes(32))
        endpoints = (Endpoint(ip_address(public), PORT),) if name in preset else ()
        members[name] = Member(key, ip_address(f"10.14.{number // 250}.{number % 250 + 1}"), endpoints, name)
    for name, (public, nat) in plan.items():
        ip = ip_address(public)
        site = world.sites.setdefault(ip, Site(world, ip, nat))
        lan = ip if nat == "none" else ip_network("192.168.1.0/24")[10 + len(site.nodes)]
        world.nodes[name] = node = Node(world, name, site, lan, members[name], PORT + len(site.nodes))
        node.members = list(members.values())
    return world.nodes
