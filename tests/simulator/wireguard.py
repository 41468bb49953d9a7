"""WireGuard as the core depends on it, of one interface.

One handshake initiation in 5 s, crossing initiations that cancel each other, queues of packets that wait for
a handshake, roaming, sessions that are renewed and expire, both kinds of keepalive. The timers are those of
drivers/net/wireguard/timers.c; tests/lab and tests/kernel show the same on real interfaces.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING

from wgautomesh.values import Device, Endpoint, IPAddress, IPNetwork, Key, Member, Peer

from .wire import Packet, Site, World

if TYPE_CHECKING:
    from .cable import Cable
    from .node import Node

REKEY_TIMEOUT = 5.0  # s between two handshake initiations (drivers/net/wireguard/messages.h)
KEEPALIVE_TIMEOUT = 10.0  # s
REKEY_AFTER = 120.0  # s after which the side that began a session renews it when it sends
REJECT_AFTER = 180.0  # s a session lives
NEW_HANDSHAKE_AFTER = KEEPALIVE_TIMEOUT + REKEY_TIMEOUT
QUEUE = 128  # packets that wait for a handshake
HEADER = 32  # bytes of a data packet: its header and tag
RESPONSE = 92  # bytes
NEVER = float("-inf")


class Session:
    """WireGuard's state for one peer. Times in s."""

    __slots__ = (
        "current",
        "due",
        "endpoint",
        "handshake",
        "initiated",
        "initiation",
        "keepalive",
        "made",
        "next",
        "ours",
        "owed",
        "peer",
        "queue",
        "rx",
        "sent",
        "traversed",
    )

    def __init__(self, peer: Peer) -> None:
        self.peer = peer  # as last shown
        self.endpoint = peer.endpoint
        self.keepalive = peer.keepalive
        self.current = 0  # session number, 0 is none
        self.next = 0  # made as responder, not yet confirmed
        self.initiation = 0  # number of the handshake we began, 0 after we consumed one
        self.initiated = NEVER
        self.made = NEVER
        self.ours = False  # we began the current session
        self.handshake = 0
        self.rx = 0
        self.queue: list[object] | None = None
        self.sent: float | None = None  # first data that nothing came back to
        self.owed: float | None = None  # data came, nothing went back
        self.traversed = NEVER  # any packet, either way
        self.due = NEVER  # when the one timer of this session is set for

    def shown(self) -> Peer:
        """As the user sees it; the same object for as long as nothing has changed."""
        peer = self.peer
        if (peer.rx_bytes, peer.handshake, peer.keepalive) != (self.rx, self.handshake, self.keepalive) or (
            peer.endpoint is not self.endpoint
        ):
            self.peer = Peer(
                peer.key,
                self.endpoint,
                peer.preshared_key,
                self.keepalive,
                peer.allowed_ips,
                self.handshake,
                self.rx,
            )
        return self.peer


class Interface(ABC):
    """A node's WireGuard. `deliver` is what a subclass does with the payloads that come out of it."""

    def __init__(self, world: World, site: Site, lan_ip: IPAddress, member: Member, port: int) -> None:
        self.world, self.site, self.lan_ip = world, site, lan_ip
        self.port, self.key = port, member.key
        self.peers: dict[Key, Session] = {}
        self._outside = Endpoint(site.public, port)

    @abstractmethod
    def deliver(self, sender: Key, payload: object) -> None: ...

    def outside(self) -> Endpoint:
        """Where packets come from when no NAT is between."""
        if self._outside.ip is not self.site.public:
            self._outside = Endpoint(self.site.public, self.port)
        return self._outside

    def device(self, name: str) -> Device:
        peers = {key: session.shown() for key, session in self.peers.items()}
        return Device(name, 1, self.key, None, self.port, peers)

    def add(self, peer: Peer) -> None:
        session = self.peers.get(peer.key)
        if session is None:
            self.peers[peer.key] = Session(peer)
        else:
            session.peer, session.keepalive = peer, peer.keepalive

    def readd(self, peer: Peer) -> None:
        self.peers[peer.key] = Session(peer)

    def change(
        self, key: Key, allowed: tuple[IPNetwork, ...], endpoint: Endpoint | None, keepalive: int | None
    ) -> None:
        session = self.peers[key]
        session.peer = replace(session.peer, allowed_ips=allowed)
        session.endpoint = endpoint or session.endpoint
        session.keepalive = keepalive if keepalive is not None else session.keepalive

    # -- packets --------------------------------------------------------------------------------------

    def send(self, key: Key, payload: object, size: int = 100) -> None:
        """Something of `size` bytes, IP header included, for the peer."""
        s = self.peers.get(key)
        if s is None:
            return
        now = self.world.now
        if s.current and now - s.made < REJECT_AFTER:
            self._data(key, s, payload, size)
            if s.sent is None:
                s.sent = now
                self._set_timer(key, s, now + NEW_HANDSHAKE_AFTER)
        else:
            if s.queue is None:
                s.queue = []
            s.queue.append(payload)
            del s.queue[:-QUEUE]
            self._initiate(key, s)

    def arrived(self, source: Endpoint, packet: Packet, sender: Node) -> None:
        s = self.peers.get(packet.sender)
        if s is None or self.world.is_cut(sender, self):  # type: ignore[arg-type]  # only nodes are interfaces
            return
        if packet.kind == "data":
            if packet.session and packet.session in (s.current, s.next):
                self._took(s, source, packet)
                if packet.session == s.next:
                    self._established(packet.sender, s, s.next, ours=False)
                    self._flush(packet.sender, s)
                s.sent = None
                if packet.payload is not None:
                    if s.owed is None:
                        s.owed = self.world.now
                        self._set_timer(packet.sender, s, s.owed + KEEPALIVE_TIMEOUT)
                    self.deliver(packet.sender, packet.payload)
        elif packet.kind == "initiation":
            s.initiation = 0
            s.next = next(self.world.numbers)
            self._took(s, source, packet)
            self._transmit(s, Packet("response", self.key, packet.number, s.next, size=RESPONSE))
        elif s.initiation and s.initiation == packet.number:
            s.initiation = 0
            self._took(s, source, packet)
            self._established(packet.sender, s, packet.session, ours=True)
            if not s.queue:
                self._data(packet.sender, s, None, 0)
            self._flush(packet.sender, s)

    def _took(self, s: Session, source: Endpoint, packet: Packet) -> None:
        s.endpoint = source
        s.rx += packet.size
        s.traversed = self.world.now

    def _established(self, key: Key, s: Session, number: int, *, ours: bool) -> None:
        s.current, s.next, s.made = number, 0, self.world.now
        s.ours = ours
        s.handshake = int(self.world.now * 1e9)
        if s.keepalive:
            self._set_timer(key, s, self.world.now + s.keepalive)

    def _flush(self, key: Key, s: Session) -> None:
        waiting, s.queue = s.queue, None
        for payload in waiting or ():
            self.send(key, payload)

    def _data(self, key: Key, s: Session, payload: object, size: int) -> None:
        s.owed = None
        self._transmit(s, Packet("data", self.key, 0, s.current, payload, HEADER + (size + 15 & ~15)))
        if s.ours and self.world.now - s.made > REKEY_AFTER:
            self._initiate(key, s)

    def _transmit(self, s: Session, packet: Packet) -> None:
        s.traversed = self.world.now
        if s.endpoint:
            self.way(s.endpoint).send(self, s.endpoint, packet)  # type: ignore[arg-type]

    def way(self, to: Endpoint) -> Site | Cable:
        """What a packet to this endpoint leaves by."""
        return self.site

    def _initiate(self, key: Key, s: Session) -> None:
        if self.world.now - s.initiated < REKEY_TIMEOUT:
            return
        s.initiated = self.world.now
        s.initiation = number = next(self.world.numbers)
        self._transmit(s, Packet("initiation", self.key, number))
        again = self.world.now + REKEY_TIMEOUT + self.world.rng.random() / 3
        self.world.at(again, self._retry, key, s, number)

    def _retry(self, key: Key, s: Session, number: int) -> None:
        if self.peers.get(key) is s and s.queue and s.initiation in (0, number):
            self._initiate(key, s)

    # -- timers ---------------------------------------------------------------------------------------

    def keep_alive(self, key: Key) -> None:
        """The keepalive of this session is due some time from now."""
        s = self.peers[key]
        self._set_timer(key, s, self.world.now + self.world.rng.uniform(0, s.keepalive))

    def _set_timer(self, key: Key, s: Session, due: float) -> None:
        """One event for all timers of a session: what was due may have been put off when it comes."""
        if s.due <= self.world.now or due < s.due:
            s.due = due
            self.world.at(due, self._ring, key, s, due)

    def _ring(self, key: Key, s: Session, due: float) -> None:
        if s.due != due or self.peers.get(key) is not s:
            return
        s.due = NEVER
        now = self.world.now
        if s.owed is not None and now >= s.owed + KEEPALIVE_TIMEOUT and s.current:
            self._data(key, s, None, 0)
        if s.sent is not None and now >= s.sent + NEW_HANDSHAKE_AFTER:
            s.sent = None
            self._initiate(key, s)
        if s.keepalive and s.current and now >= s.traversed + s.keepalive:
            self._data(key, s, None, 0)
        later = [s.traversed + s.keepalive] if s.keepalive and s.current else []
        later += [s.owed + KEEPALIVE_TIMEOUT] if s.owed is not None and s.current else []
        later += [s.sent + NEW_HANDSHAKE_AFTER] if s.sent is not None else []
        if later:
            self._set_timer(key, s, min(later))
