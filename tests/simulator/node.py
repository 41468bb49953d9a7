"""A node of the simulated world: the real core over the model of an interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from random import Random
from typing import NamedTuple

from wgautomesh import messages
from wgautomesh.effects import Admit, Change, Effect, Look, Readd, Remove, Resolve, Say, Send
from wgautomesh.interface import LOOK_BURST, LOOK_SHARE, LOOK_SPACING
from wgautomesh.link import Link, State
from wgautomesh.mesh import Mesh, Past
from wgautomesh.messages import SEAL_OVERHEAD, Answer, Hello, Message
from wgautomesh.observer import Observer
from wgautomesh.standpoint import Surroundings
from wgautomesh.values import Device, Endpoint, IPAddress, Key, Member

from .cable import Cable
from .wire import Site, World
from .wireguard import Interface

LOOK_TAKES = 0.001  # s
PEER_TAKES = 10e-6  # s, of a read of the device: it delays the next one
HEADERS = 28 + SEAL_OVERHEAD  # bytes: IPv4 and UDP, nonce and tag
SOMEWHERE = Endpoint(IPv4Address("44.0.0.1"), 51820)
PROBE_SIZE = HEADERS + len(messages.encode(Hello(2**31, 2**63, SOMEWHERE)))


class Ping(NamedTuple):
    """A user's packet, or the answer to one."""

    number: int
    is_answer: bool = False


REFUSED = "refused"  # the system answers for a port nobody listens on
MESH = IPv4Interface("10.14.0.0/16")


@dataclass(slots=True)
class Sums:
    """What a node's agent sent, in datagrams and bytes (headers of IP and UDP included)."""

    probes: int = 0
    answers: int = 0
    gossip: int = 0  # all other datagrams
    gossip_bytes: int = 0
    heard: int = 0  # datagrams that came
    most: int = 0  # datagrams sent because of one that came


class Node(Interface):
    """`lan_ip` is its address behind its site's router."""

    def __init__(
        self, world: World, name: str, site: Site, lan_ip: IPAddress, member: Member, port: int
    ) -> None:
        super().__init__(world, site, lan_ip, member, port)
        self.name, self.member = name, member
        self.members: Sequence[Member] = []
        self.mesh: Mesh | None = None
        self.said: list[tuple[float, str]] = []
        self.sent: list[tuple[float, str, object]] = []  # when, to whom, message
        self.readds: list[tuple[float, Key]] = []
        self.sums = Sums()
        self.look_due: float | None = None
        self.has_agent = True
        self.observer = Observer()
        self.past = Past()
        self.cables: list[Cable] = []
        self.is_deaf = False  # to beacons
        self.changes: list[tuple[float, Key, Endpoint]] = []  # endpoints set in place
        self.pongs: set[int] = set()
        self._armed = float("inf")
        self._busy_until = 0.0
        self._look_budget = self._look_allowed = 0.0
        site.nodes[lan_ip] = self
        world.by_key[self.key] = self

    # -- the agent ------------------------------------------------------------------------------------

    def start(self) -> None:
        rng = Random(self.world.rng.random())
        now = self.world.now
        self.mesh = Mesh(self.key, self.members, rng=rng, now=now, past=self.past)
        self._count_answers(self.mesh)
        self._armed = float("inf")
        self.mesh.network(self.surroundings(), now)
        self._look()

    def stop(self, *, forget: bool = False) -> None:
        """Stop the agent; `forget` the interface as well."""
        if self.mesh:
            self.past = self.mesh.memory()
        self.mesh = None
        if forget:
            self.peers.clear()

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """The machine is suspended meanwhile; what it hears of must be cut off by whoever asks for this."""
        mesh, self.mesh = self.mesh, None
        yield
        self.mesh, self._armed = mesh, float("inf")
        self.do(lambda mesh: mesh.woke(self.world.now))
        self._look()

    def state(self, other: Node) -> State | None:
        return self.mesh.links[other.key].state if self.mesh else None

    def endpoint(self, other: Node) -> Endpoint | None:
        return self.peers[other.key].endpoint if other.key in self.peers else None

    def surroundings(self) -> Surroundings:
        ours = (self.lan_ip, *(cable.ip(self) for cable in self.cables))
        return Surroundings(tuple(IPv4Interface(f"{ip}/24") for ip in ours), (MESH,))

    def network_changed(self) -> None:
        self.do(lambda mesh: mesh.network(self.surroundings(), self.world.now))

    def found(self, other: Node, endpoint: Endpoint) -> None:
        """The other node proved that it is there."""
        if not self.is_deaf:
            self.do(lambda mesh: mesh.found_on_lan(other.key, endpoint, self.world.now))

    def ping(self, other: Node, rate: float, seconds: float) -> set[int]:
        """Send a user's packets in the time to come; the numbers whose answers shall come to `pongs`."""
        numbers = [next(self.world.numbers) for _ in range(int(rate * seconds))]
        for step, number in enumerate(numbers):
            self.world.at(self.world.now + step / rate, self.send, other.key, Ping(number))
        return set(numbers)

    def way(self, to: Endpoint) -> Site | Cable:
        return next((cable for cable in self.cables if to.ip in cable.nodes), self.site)

    def do(self, event: Callable[[Mesh], Sequence[Effect]]) -> None:
        """Bring an event to the core and carry out what it wants; some time later, on a busy machine."""
        mesh, world, effects = self.mesh, self.world, list[Effect]()
        if mesh is None:
            return
        if not world.busy:
            self.apply(event(mesh))
            return
        begin = max(world.now, self._busy_until)
        self._busy_until = begin + world.rng.uniform(0.0, world.busy)
        world.at(begin, lambda: effects.extend(event(mesh) if mesh is self.mesh else ()))
        world.at(self._busy_until, self.apply, effects)

    def apply(self, effects: Sequence[Effect]) -> None:  # noqa: PLR0912 - a list of effects
        now = self.world.now
        if effects and self.mesh and self.world.trace:
            self.observer.watch(self.mesh.links, effects, now)
        for effect in effects:
            match effect:
                case Send(member, message):
                    if self.world.trace:
                        self.sent.append((now, str(member.name), message))
                    self.send(member.key, message, self._weigh(message))
                case Look():
                    if self.look_due is None:
                        self.look_due = now
                        self.world.at(max(now + LOOK_TAKES, self._look_allowed), self._look)
                case Admit(peers):
                    for peer in peers:
                        self.add(peer)
                case Change(key, endpoint, keepalive, allowed_ips, replaced):
                    kept = () if replaced else self.peers[key].peer.allowed_ips
                    if endpoint:
                        self.changes.append((now, key, endpoint))
                    self.change(key, kept + allowed_ips, endpoint, keepalive)
                case Readd(peer):
                    self.readds.append((now, peer.key))
                    self.readd(peer)
                case Remove(key):
                    self.peers.pop(key, None)
                case Say(_, text):
                    if self.world.trace:
                        self.said.append((now, text))
                case Resolve():
                    pass
        self._arm()

    def _weigh(self, message: Message) -> int:
        """The size of the datagram, which is counted."""
        sums = self.sums
        if isinstance(message, Hello):
            sums.probes += 1
            return PROBE_SIZE
        if isinstance(message, Answer):
            sums.answers += 1
            return PROBE_SIZE
        size = HEADERS + len(messages.encode(message))
        sums.gossip += 1
        sums.gossip_bytes += size
        return size

    def _look(self) -> None:
        self.look_due = None
        if self.world.paced:
            spacing = max(LOOK_SPACING, LOOK_SHARE * PEER_TAKES * len(self.peers))
            self._look_budget = max(self._look_budget, self.world.now) + spacing
            self._look_allowed = self._look_budget - (LOOK_BURST - 1) * spacing
        self.do(lambda mesh: mesh.device(self.wireguard(), self.world.now))

    def wireguard(self) -> Device:
        return self.device(f"wg-{self.name}")

    def _arm(self) -> None:
        mesh = self.mesh
        if mesh:
            due = mesh.next_tick()
            if due < self._armed:
                self._armed = due
                self.world.at(due, self._tick, mesh, due)

    def _tick(self, mesh: Mesh, due: float) -> None:
        if due != self._armed or mesh is not self.mesh:
            return
        self._armed = float("inf")
        self.do(lambda mesh: mesh.tick(self.world.now) if mesh.next_tick() <= self.world.now else ())

    def deliver(self, sender: Key, payload: object) -> None:
        if isinstance(payload, Ping):
            if payload.is_answer:
                self.pongs.add(payload.number)
            else:
                self.send(sender, Ping(payload.number, is_answer=True))
            return
        address = self.world.by_key[sender].member.address
        if payload is REFUSED:
            self.do(lambda mesh: mesh.refused(address, self.world.now))
        elif self.mesh:
            self.do(lambda mesh: self._receive(mesh, address, payload))
        elif self.has_agent:
            self.send(sender, REFUSED)

    def _receive(self, mesh: Mesh, address: IPAddress, payload: object) -> list[Effect]:
        message: Message | None = payload  # type: ignore[assignment]
        if self.world.codec:
            message = messages.decode(messages.encode(payload))  # type: ignore[arg-type]
        assert message is not None
        self.sums.heard += 1
        return mesh.receive(address, message, self.world.now)

    def _count_answers(self, mesh: Mesh) -> None:
        """What each message makes the core send, those included that wait for a look at the device."""
        dialogue, out = mesh._dialogue, mesh._out
        handle = dialogue._handle

        def counted(link: Link, message: Message | None, now: float) -> None:
            before = len(out)
            handle(link, message, now)
            self.sums.most = max(self.sums.most, sum(isinstance(each, Send) for each in out[before:]))

        dialogue._handle = counted  # type: ignore[method-assign]
