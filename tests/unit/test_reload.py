"""Another member list while the mesh runs, and what systemd hears of it."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

from tests.unit.test_scenarios import TWO_NATS, formed
from tests.world import Node, World, build
from wgautomesh.effects import Effect, Send
from wgautomesh.messages import Answer, Hello
from wgautomesh.notify import Notifier
from wgautomesh.values import Key

HELLO = Hello(1, 0)


def answered(node: Node, effects: list[Effect]) -> list[Key]:
    """Whom these effects answer; they are carried out."""
    node.apply(effects)
    return [
        each.member.key for each in effects if isinstance(each, Send) and isinstance(each.message, Answer)
    ]


def reconfigure(node: Node, names: tuple[str, ...]) -> None:
    assert node.mesh
    node.members = [node.world.nodes[name].member for name in names]
    node.apply(node.mesh.reconfigure(node.members, node.world.now))


def test_links_that_stay_keep_their_session() -> None:
    world = formed()
    hub, a, b = (world.nodes[name] for name in ("hub", "a", "b"))
    handshake, readds = a.peers[b.key].handshake, len(a.readds)
    reconfigure(a, ("a", "b"))
    world.run(20)
    assert hub.key not in a.peers
    assert a.peers[b.key].handshake == handshake and len(a.readds) == readds
    assert world.connected("a", "b")


def test_a_new_member_is_reached_and_a_former_one_is_not_heard() -> None:
    world = World(1, one_way=0.025)
    build(world, TWO_NATS)
    for node in world.nodes.values():
        node.members = [each for each in node.members if each.name != "b"]
        if node.name != "b":
            node.start()
    world.run(5)
    for node in world.nodes.values():
        if node.mesh:
            reconfigure(node, ("hub", "a", "b"))
    world.nodes["b"].members = [node.member for node in world.nodes.values()]
    world.nodes["b"].start()
    assert world.run(20, until=world.connected) <= 5.0
    for name in ("hub", "a"):
        reconfigure(world.nodes[name], ("hub", "a"))
    world.run(30)
    hub = world.nodes["hub"]
    assert hub.mesh and world.nodes["b"].key not in hub.mesh.links
    assert world.nodes["b"].key not in set(hub.mesh.gossip.book)
    assert world.connected("hub", "a")


def test_a_member_that_lost_an_address_keeps_its_session_and_speaks_for_it_no_more() -> None:
    world = World(1, one_way=0.025)
    nodes = build(world, TWO_NATS)
    extra, other = ip_address("10.20.0.1"), ip_address("10.20.0.2")
    b = replace(nodes["b"].member, further=(extra, other))
    for node in nodes.values():
        node.members = [b if each.key == b.key else each for each in node.members]
        node.start()
    assert world.run(20, until=world.connected) <= 5.0
    a = nodes["a"]
    handshake = a.peers[b.key].handshake
    assert ip_network(extra) in a.peers[b.key].peer.allowed_ips
    assert a.mesh and answered(a, a.mesh.receive(extra, HELLO, world.now)) == [b.key]
    a.members = [replace(b, further=(other,)) if each.key == b.key else each for each in a.members]
    a.apply(a.mesh.reconfigure(a.members, world.now))
    world.run(1)
    assert set(a.peers[b.key].peer.allowed_ips) == {ip_network(b.address), ip_network(other)}
    assert a.peers[b.key].handshake == handshake and world.connected()
    assert answered(a, a.mesh.receive(other, HELLO, world.now)) == [b.key]
    assert answered(a, a.mesh.receive(extra, HELLO, world.now)) == []  # nobody's any more


def test_systemd_is_told_in_datagrams(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(path)
        systemd.setblocking(False)
        notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "30000000"})
        assert notifier.watchdog == 15.0
        notifier.ready()
        notifier.status("1 of 2 peers connected")
        notifier.status("1 of 2 peers connected")
        notifier.reloading()
        notifier.alive()
        heard = [systemd.recv(1000).decode() for _ in range(4)]
    assert heard[:2] == ["READY=1", "STATUS=1 of 2 peers connected"]
    assert heard[2].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert heard[3] == "WATCHDOG=1"


def test_nobody_listening_is_no_trouble() -> None:
    notifier = Notifier({})
    notifier.ready()
    assert notifier.watchdog == float("inf")
    Notifier({"NOTIFY_SOCKET": "/nonexistent/socket"}).ready()
