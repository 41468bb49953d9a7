"""A real userspace WireGuard in namespaces of its own: choosing it, configuring it, talking through it.

Needs root, `ip` and `wireguard-go`. The names of interfaces are unique, as their sockets share one directory.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import select
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest
from nacl.bindings import crypto_scalarmult_base

from wgautomesh.tunnel import Received, Tunnel
from wgautomesh.values import Endpoint, IPAddress, Key, Peer
from wgautomesh.watch import Watch
from wgautomesh.wireguard import WireGuard
from wgautomesh.wireguard.choose import open_wireguard
from wgautomesh.wireguard.uapi import SOCKETS, UserspaceWireGuard

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("wireguard-go") or not shutil.which("ip"),
    reason="needs root, ip and wireguard-go",
)

PORT = 1666
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def run(command: str) -> None:
    subprocess.run(command.split(), check=True, capture_output=True)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Sockets made here stay in the namespace."""
    with Path("/proc/thread-self/ns/net").open() as outside, Path("/run/netns", namespace).open() as there:
        assert libc.setns(there.fileno(), CLONE_NEWNET) == 0
        try:
            yield
        finally:
            libc.setns(outside.fileno(), CLONE_NEWNET)


@dataclass(frozen=True)
class Node:
    namespace: str
    interface: str
    key: Key
    v4: IPv4Address
    v6: IPv6Address
    outer: Endpoint

    def peer(self) -> Peer:
        networks = (ip_network(f"{self.v4}/32"), ip_network(f"{self.v6}/128"))
        return Peer(self.key, self.outer, bytes([9] * 32), 20, networks)


@contextmanager
def namespace() -> Iterator[str]:
    name = f"wgtest-{secrets.token_hex(4)}"
    run(f"ip netns add {name}")
    try:
        run(f"ip -n {name} link set lo up")
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)


@contextmanager
def node(number: int) -> Iterator[Node]:
    with namespace() as where, ExitStack() as stack:
        interface = f"wgt{secrets.token_hex(4)}"
        process = subprocess.Popen(
            ["ip", "netns", "exec", where, "wireguard-go", "-f", interface],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(process.wait)
        stack.callback(process.terminate)
        wait_for(lambda: answers(interface))
        private = secrets.token_bytes(32)
        with inside(where):
            UserspaceWireGuard(interface)._exchange(
                f"set=1\nprivate_key={private.hex()}\nlisten_port=51820\n\n".encode()
            )
        v4, v6 = IPv4Address(f"10.77.0.{number}"), IPv6Address(f"fd77::{number}")
        run(f"ip -n {where} address add {v4}/24 dev {interface}")
        run(f"ip -n {where} address add {v6}/64 dev {interface} nodad")
        run(f"ip -n {where} link set {interface} up")
        with inside(where):
            wait_for(listens)  # it opens its port only when it hears that the interface is up
        outer = Endpoint(ip_address(f"192.0.2.{number}"), 51820)
        yield Node(where, interface, Key(crypto_scalarmult_base(private)), v4, v6, outer)


def answers(interface: str) -> bool:
    """Whether the process listens at its socket: that the file is there comes a moment before."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(SOCKETS / f"{interface}.sock")) == 0


def listens() -> bool:
    return f":{51820:04X} " in Path("/proc/thread-self/net/udp").read_text()


@pytest.fixture
def alice() -> Iterator[Node]:
    with node(1) as alice:
        yield alice


@pytest.fixture
def pair() -> Iterator[tuple[Node, Node]]:
    """Two nodes on one wire that do not know each other yet."""
    with node(1) as alice, node(2) as bob:
        run(
            f"ip -n {alice.namespace} link add eth0 type veth peer name eth0 netns {bob.namespace}",
        )
        for each in (alice, bob):
            run(f"ip -n {each.namespace} address add {each.outer.ip}/24 dev eth0")
            run(f"ip -n {each.namespace} link set eth0 up")
        yield alice, bob


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def opened(node: Node) -> WireGuard:
    with inside(node.namespace):
        return open_wireguard(node.interface)


def introduce(initiator: Node, responder: Node) -> None:
    """In this order: the keepalive starts a handshake at once, and one that is not answered costs 5 s."""
    opened(responder).add(replace(initiator.peer(), endpoint=None))
    opened(initiator).add(responder.peer())


def peers_of(node: Node) -> dict[Key, Peer]:
    with inside(node.namespace):
        return dict(UserspaceWireGuard(node.interface).read().peers)


def tunnel_of(node: Node, address: IPAddress) -> Tunnel:
    with inside(node.namespace):
        return Tunnel(node.interface, address, PORT)


def eventually(tunnel: Tunnel) -> list[Received]:
    readable, _, _ = select.select([tunnel], [], [], 5.0)
    return tunnel.receive(10) if readable else []


def refusal(call: Callable[[], object]) -> int | None:
    with pytest.raises(OSError) as caught:
        call()
    return caught.value.errno


def test_the_interface_is_recognised_and_read(alice: Node) -> None:
    with inside(alice.namespace):
        wireguard = open_wireguard(alice.interface)
        device = wireguard.read()
        assert isinstance(wireguard, UserspaceWireGuard)
        assert device.index == socket.if_nametoindex(alice.interface)
    assert (device.key, device.listen_port, device.peers) == (alice.key, 51820, {})


def test_a_tun_interface_without_its_socket_is_not_there_yet() -> None:
    with namespace() as where:
        run(f"ip -n {where} tuntap add wgt-tun0 mode tun")
        with inside(where):
            assert refusal(lambda: open_wireguard("wgt-tun0")) == errno.ENODEV


def test_an_interface_of_another_kind_is_named(alice: Node) -> None:
    run(f"ip -n {alice.namespace} link add br0 type bridge")
    with inside(alice.namespace), pytest.raises(OSError) as caught:
        open_wireguard("br0")
    assert caught.value.strerror == "br0 is not a WireGuard interface but a bridge"


def test_the_owner_of_a_socket_we_may_not_use_is_named(alice: Node) -> None:
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with inside(alice.namespace):
                os.setuid(65534)
                open_wireguard(alice.interface)
        except PermissionError as refused:
            os.write(write_end, (refused.strerror or "").encode())
        finally:
            os._exit(0)  # a second pytest must not come out of here, whatever happened
    os.waitpid(child, 0)
    said = os.read(read_end, 1000).decode()
    os.close(read_end)
    os.close(write_end)
    assert said == f"/var/run/wireguard/{alice.interface}.sock belongs to root: run as root"


def test_peers_are_added_changed_readded_and_removed(alice: Node) -> None:
    wireguard = opened(alice)
    foreign = Peer(Key(bytes([1] * 32)), None, bytes([5] * 32), 7, (ip_network("10.1.0.0/16"),))
    ours = Peer(
        Key(bytes([2] * 32)),
        Endpoint(ip_address("192.0.2.9"), 9),
        bytes([6] * 32),
        20,
        (ip_network("10.2.0.1/32"), ip_network("fd02::1/128")),
    )
    wireguard.add(foreign)
    wireguard.add(ours)
    assert peers_of(alice) == {foreign.key: foreign, ours.key: ours}

    elsewhere = Endpoint(ip_address("198.51.100.1"), 1)
    wireguard.update(ours.key, endpoint=elsewhere, keepalive=25, allowed_ips=(ip_network("10.3.0.0/24"),))
    changed = replace(
        ours,
        endpoint=elsewhere,
        keepalive=25,
        allowed_ips=(ip_network("10.2.0.1/32"), ip_network("10.3.0.0/24"), ip_network("fd02::1/128")),
    )
    found = peers_of(alice)[ours.key]
    assert set(found.allowed_ips) == set(changed.allowed_ips)
    assert replace(found, allowed_ips=changed.allowed_ips) == changed, "the preshared key is still there"

    wireguard.readd(ours)
    assert peers_of(alice) == {foreign.key: foreign, ours.key: ours}, "made anew exactly as given"

    wireguard.remove(ours.key)
    wireguard.remove(ours.key)
    wireguard.update(ours.key, keepalive=1)
    assert peers_of(alice) == {foreign.key: foreign}, "changing a missing peer does not make it"


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_a_greeting_rides_the_handshake_and_its_answer_comes_back(
    pair: tuple[Node, Node], family: str
) -> None:
    alice, bob = pair
    introduce(alice, bob)
    at_alice, at_bob = getattr(alice, family), getattr(bob, family)
    with closing(tunnel_of(alice, at_alice)) as a, closing(tunnel_of(bob, at_bob)) as b:
        assert a.send(at_bob, b"hello")
        assert eventually(b) == [Received(at_alice, b"hello")]
        assert b.send(at_alice, b"hello to you")
        assert eventually(a) == [Received(at_bob, b"hello to you")]
    seen = peers_of(bob)[alice.key]
    assert seen.endpoint == alice.outer, "read from the handshake"
    assert seen.rx_bytes > 0
    assert abs(seen.handshake / 1e9 - time.time()) < 60


def test_what_comes_by_another_way_is_not_heard_though_it_bears_a_members_addresses(
    pair: tuple[Node, Node],
) -> None:
    alice, bob = pair
    run(f"ip -n {bob.namespace} route add {alice.v4}/32 via {alice.outer.ip} dev eth0")
    for device in ("all", "eth0"):
        run(f"ip netns exec {alice.namespace} sysctl -qw net.ipv4.conf.{device}.rp_filter=0")
    with inside(alice.namespace):
        everything = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        everything.bind((str(alice.v4), PORT + 1))
        everything.settimeout(5)
    with inside(bob.namespace):
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        stranger.bind((str(bob.v4), PORT))
    with everything, stranger, closing(tunnel_of(alice, alice.v4)) as tunnel:
        for port in (PORT, PORT + 1):
            stranger.sendto(b"hello", (str(alice.v4), port))
        assert everything.recvfrom(100) == (b"hello", (str(bob.v4), PORT)), "such packets do arrive"
        assert tunnel.receive(10) == []


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_a_member_whose_agent_does_not_run_refuses(pair: tuple[Node, Node], family: str) -> None:
    alice, bob = pair
    introduce(alice, bob)
    at_bob = getattr(bob, family)
    with closing(tunnel_of(alice, getattr(alice, family))) as tunnel:
        tunnel.send(at_bob, b"anyone?")
        assert eventually(tunnel) == [Received(at_bob, refused=True)]


def test_a_refusal_on_behalf_of_another_is_not_believed(pair: tuple[Node, Node]) -> None:
    alice, bob = pair
    third = IPv4Address("10.77.0.3")
    introduce(alice, bob)
    with closing(tunnel_of(alice, alice.v4)) as tunnel, inside(bob.namespace):
        tunnel.send(bob.v4, b"anyone?")
        assert eventually(tunnel) == [Received(bob.v4, refused=True)]
        for about, believed in ((third, []), (bob.v4, [Received(bob.v4, refused=True)])):
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
                raw.sendto(port_unreachable(alice.v4, about), (str(alice.v4), 0))
            assert eventually(tunnel) == believed


def port_unreachable(sender: IPv4Address, to: IPv4Address) -> bytes:
    """The ICMP message (RFC 792) that nobody listens at `to` for what `sender` sent from PORT to PORT."""
    udp = struct.pack(">4H", PORT, PORT, 8, 0)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, sender.packed, to.packed)
    body = ip + udp
    total = sum(struct.unpack(f">{len(body) // 2}H", body)) + 0x0303
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">BBHI", 3, 3, ~total & 0xFFFF, 0) + body


def test_an_interface_that_goes_away_is_gone_for_everybody(alice: Node) -> None:
    wireguard, tunnel = opened(alice), tunnel_of(alice, alice.v4)
    with closing(tunnel), inside(alice.namespace):
        run(f"ip link del {alice.interface}")
        assert refusal(lambda: tunnel.send(IPv4Address("10.77.0.2"), b"x")) == errno.ENODEV
        wait_for(lambda: not (SOCKETS / f"{alice.interface}.sock").exists())
        assert refusal(wireguard.read) == errno.ENODEV
        assert refusal(lambda: wireguard.update(alice.key, keepalive=1)) == errno.ENODEV
        assert refusal(lambda: open_wireguard(alice.interface)) == errno.ENODEV


def test_changes_of_links_addresses_and_routes_are_noticed(pair: tuple[Node, Node]) -> None:
    alice, _ = pair
    with inside(alice.namespace):
        watch = Watch()
        with closing(watch):
            settle(watch, 2.0)  # s; by then no address is tentative any more
            for change in (
                "ip address add 192.0.2.77/32 dev eth0",
                "ip -6 address add fd99::1/64 dev eth0 nodad",
                "ip route add 203.0.113.0/24 via 192.0.2.2",
                "ip -6 route add fd98::/64 via fd99::2",
                "ip link set eth0 down",
            ):
                assert not watch.drain()
                run(change)
                assert select.select([watch], [], [], 1.0)[0], change
                assert watch.drain()
                settle(watch, 0.2)


def settle(watch: Watch, silence: float) -> None:
    """The kernel says some things later: that a carrier is there, that an address is no duplicate."""
    while select.select([watch], [], [], silence)[0]:
        watch.drain()


def test_the_wire_is_a_lan_and_the_tunnel_is_not(pair: tuple[Node, Node]) -> None:
    alice, _ = pair
    with inside(alice.namespace), closing(Watch()) as watch:
        found = {each.name: each for each in watch.interfaces().values()}
    assert (found["eth0"].kind, found["eth0"].up, found["eth0"].lan) == ("veth", True, True)
    assert found["eth0"].broadcasts == (IPv4Address("192.0.2.255"),)
    tunnel = found[alice.interface]
    assert (tunnel.kind, tunnel.up, tunnel.lan) == ("tun", True, False)
    assert {each.ip for each in tunnel.addresses} >= {alice.v4, alice.v6}


def test_many_peers_are_read_whole(alice: Node) -> None:
    wireguard = opened(alice)
    some = [
        Peer(Key(secrets.token_bytes(32)), allowed_ips=(ip_network((0x0A000000 + n, 32)),))
        for n in range(200)
    ]
    for peer in some:
        wireguard.add(peer)
    assert peers_of(alice) == {peer.key: peer for peer in some}
