"""A large mesh as it is long after its start, made at once: to simulate how thousands start takes hours.

It reaches into the core, and so stands alone. `tests/scale/test_hundred.py` compares what it makes with what
a hundred nodes arrive at by themselves.
"""

from __future__ import annotations

from tests.simulator.node import Node
from tests.simulator.wire import World
from tests.simulator.wireguard import REKEY_AFTER, Session
from wgautomesh.admission import KEEPALIVE
from wgautomesh.attempt import BACKOFF
from wgautomesh.book import Entry
from wgautomesh.candidates import Candidate
from wgautomesh.link import MISSES_TO_SILENCE, PROBE_INTERVAL, Event
from wgautomesh.messages import Kind
from wgautomesh.pace import SMALL, VAIN_RATE, probe_interval
from wgautomesh.reflexive import OBSERVERS
from wgautomesh.values import Endpoint, Key, Peer

from .plan import can_meet

UNDER_WAY = 0.15  # s in which all arrives that agents say at their start, and is not to be heard


def settle(world: World, nodes: list[Node], *, keepalives: bool = True) -> None:
    """Have all agents run, with a session between all that can meet, and equal books.

    Without WireGuard's keepalives it is good for two minutes, and thousands of nodes take less memory.
    """
    for node in nodes:
        node.peers = {
            other.key: session(node, other) for other in nodes if other is not node and other.key > node.key
        }
    by_key = world.by_key
    for node in nodes:
        for key, one in node.peers.items():
            if key > node.key:
                other = by_key[key]
                other.peers[node.key] = session(other, node)
                if can_meet(node, other):
                    join(one, other.peers[node.key], world)
                    if keepalives:
                        node.keep_alive(key)
                        other.keep_alive(node.key)
    for node in nodes:
        agent_runs(node, nodes)
    world.parts = {node.name: number for number, node in enumerate(nodes)}
    world.run(UNDER_WAY)
    world.parts = {}
    share_books(nodes, world.now)


def place(node: Node, other: Node) -> Endpoint:
    """Where `other` is reached from `node`."""
    inside, site = Endpoint(other.lan_ip, other.port), other.site
    if node.site is site:
        return inside
    return Endpoint(site.public, site.map(inside, node.outside()) if site.nat == "symmetric" else other.port)


def session(node: Node, other: Node) -> Session:
    endpoint = place(node, other) if can_meet(node, other) else None
    return Session(Peer(other.key, endpoint, None, KEEPALIVE, other.member.networks))


def join(one: Session, other: Session, world: World) -> None:
    """As after a handshake some time ago."""
    number, made = next(world.numbers), world.now - world.rng.uniform(0, REKEY_AFTER)
    one.ours = True
    for each in (one, other):
        each.current, each.made, each.handshake, each.traversed = number, made, int(made * 1e9), world.now


def agent_runs(node: Node, nodes: list[Node]) -> None:
    """Start the agent and let each link know what it would know by now."""
    world, now = node.world, node.world.now
    node.site.settled = now
    node.start()
    mesh = node.mesh
    assert mesh
    met = [other for other in nodes if other is not node and can_meet(node, other)]
    for other in met[:OBSERVERS]:
        mesh.standpoint.seen(other.key, place(other, node), now)
    mesh._herald.announce(now)
    mesh._take()
    apart = len(nodes) - 1 - len(met)
    for key, link in mesh.links.items():
        if link.endpoint:
            other = world.by_key[key]
            link.home = link.endpoint
            link.candidates.confirm(link.endpoint, now)
            link.patience, link.told = MISSES_TO_SILENCE, True
            link.heard = link.answered = now
            link.rtt = link.sample = 2 * world.delay(node.site, other.site)
            link.happened(Event.ANSWERED, now)
            due = world.rng.uniform(0, probe_interval(PROBE_INTERVAL, len(met), world.rng))
        else:
            link.candidates.offer(Candidate(world.by_key[key].outside(), Kind.OBSERVED, now, nodes[0].key))
            link.happened(Event.CANDIDATE, now)
            link.attempt.rounds = len(BACKOFF)  # all in vain
            due = world.rng.uniform(0, apart / VAIN_RATE if len(nodes) > SMALL else BACKOFF[-1])
        mesh.common.timers.set(key, now + due)
    node._arm()


def share_books(nodes: list[Node], now: float) -> None:
    """What everybody said of themselves, told to all."""
    first = nodes[0].mesh
    assert first
    for node in nodes:
        assert node.mesh
        own = node.mesh.gossip.book.get(node.key)
        assert own
        first.gossip.book.put(own, now)
    model = first.gossip.book
    entries: dict[Key, Entry] = dict(model._entries)
    for node in nodes:
        assert node.mesh
        for key, link in node.mesh.links.items():
            link.nat = entries[key].record.nat
        book = node.mesh.gossip.book
        book.digest = model.digest
        book._entries, book._buckets = dict(entries), list(model._buckets)
