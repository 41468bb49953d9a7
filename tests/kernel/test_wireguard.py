"""The package's hand on the kernel's WireGuard, on the real module, checked with `wg`."""

from __future__ import annotations

import errno
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from nacl.bindings import crypto_scalarmult_base

from wgautomesh.values import Endpoint, IPNetwork, Key, Peer, key_text
from wgautomesh.wireguard import WireGuard
from wgautomesh.wireguard.choose import open_wireguard
from wgautomesh.wireguard.kernel import KernelWireGuard

from ..lab.shell import run
from ..lab.wg import KeyPair

NAME = "wgraw0"
PORT = 51999
PRESHARED = secrets.token_bytes(32)
MANY = 1000  # peers
EACH = 5  # allowed IPs


@pytest.fixture
def keys() -> Iterator[KeyPair]:
    """An interface with a key and a port, and no peers."""
    keys = KeyPair.generate()
    run(["ip", "link", "add", NAME, "type", "wireguard"])
    try:
        run(["wg", "set", NAME, "private-key", "/dev/stdin", "listen-port", str(PORT)], stdin=keys.private)
        run(["ip", "link", "set", NAME, "up"])
        yield keys
    finally:
        run(["ip", "link", "del", NAME], check=False)


@pytest.fixture
def wireguard(keys: KeyPair) -> Iterator[WireGuard]:
    wireguard = open_wireguard(NAME)
    yield wireguard
    wireguard.close()


def key() -> Key:
    return Key(secrets.token_bytes(32))


def full_peer(allowed: tuple[IPNetwork, ...] = ()) -> Peer:
    """A peer with everything a peer can have."""
    return Peer(key(), Endpoint(IPv4Address("203.0.113.9"), 33734), PRESHARED, 20, allowed)


def networks(number: int, count: int = EACH) -> tuple[IPNetwork, ...]:
    """Distinct allowed IPs of both families for the peer of this number."""
    own = [
        ip_network((IPv4Address("10.0.0.0") + number, 32)),
        ip_network((IPv6Address("fd00::") + number, 128)),
    ]
    return (
        *own,
        *(
            ip_network((IPv6Address("fd01::") + (number << 80) + (each << 64), 64))
            for each in range(count - 2)
        ),
    )


def shown() -> dict[str, list[str]]:
    """Peers as `wg` prints them: preshared key, endpoint, allowed IPs, keepalive."""
    peers = {}
    for line in run(["wg", "show", NAME, "dump"]).splitlines()[1:]:
        name, psk, endpoint, allowed, _, _, _, keepalive = line.split("\t")
        peers[name] = [psk, endpoint, " ".join(sorted(allowed.split(","))), keepalive]
    return peers


def as_shown(peer: Peer) -> list[str]:
    return [
        key_text(Key(peer.preshared_key)) if peer.preshared_key else "(none)",
        str(peer.endpoint) if peer.endpoint else "(none)",
        " ".join(sorted(map(str, peer.allowed_ips))) or "(none)",
        str(peer.keepalive) if peer.keepalive else "off",
    ]


def test_a_kernel_interface_is_taken_for_what_it_is_and_read(keys: KeyPair, wireguard: WireGuard) -> None:
    assert isinstance(wireguard, KernelWireGuard)
    device = wireguard.read()
    assert device.name == NAME
    assert device.listen_port == PORT
    assert device.key and key_text(device.key) == keys.public
    # The kernel clamps the key it is given (RFC 7748): the bits may differ, what they stand for may not.
    assert device.private_key and crypto_scalarmult_base(device.private_key) == device.key
    assert device.peers == {}


def test_an_interface_without_a_key_has_none(wireguard: WireGuard) -> None:
    run(["wg", "set", NAME, "private-key", "/dev/null"])
    assert wireguard.read().key is None


def test_a_peer_reads_back_as_it_was_added(wireguard: WireGuard) -> None:
    peer = full_peer(networks(1))
    wireguard.add(peer)
    read = wireguard.read().peers[peer.key]
    assert (read.endpoint, read.preshared_key, read.keepalive) == (peer.endpoint, PRESHARED, 20)
    assert set(read.allowed_ips) == set(peer.allowed_ips)
    assert shown() == {key_text(peer.key): as_shown(peer)}


def test_a_change_leaves_alone_what_it_does_not_name(wireguard: WireGuard) -> None:
    peer = full_peer(networks(1))
    wireguard.add(peer)
    elsewhere = Endpoint(IPv6Address("2001:db8::9"), 4500)
    wireguard.update(peer.key, endpoint=elsewhere)
    preshared, _, allowed, keepalive = as_shown(peer)
    assert shown() == {key_text(peer.key): [preshared, "[2001:db8::9]:4500", allowed, keepalive]}
    wireguard.update(peer.key, keepalive=7, allowed_ips=networks(9, 2))
    read = wireguard.read().peers[peer.key]
    assert (read.endpoint, read.keepalive, read.preshared_key) == (elsewhere, 7, PRESHARED)
    assert set(read.allowed_ips) == {*networks(1), *networks(9, 2)}


def test_a_change_to_a_peer_that_is_gone_makes_nothing(wireguard: WireGuard) -> None:
    gone = key()
    wireguard.update(gone, endpoint=Endpoint(IPv4Address("203.0.113.9"), 1), keepalive=20)
    wireguard.remove(gone)
    assert shown() == {}


def test_a_re_added_peer_has_all_it_had_and_its_neighbours_are_untouched(wireguard: WireGuard) -> None:
    peer, neighbour = full_peer(networks(1)), full_peer(networks(2))
    wireguard.add(peer)
    wireguard.add(neighbour)
    wireguard.readd(wireguard.read().peers[peer.key])
    assert shown() == {key_text(each.key): as_shown(each) for each in (peer, neighbour)}


def test_a_link_local_endpoint_keeps_its_interface(wireguard: WireGuard) -> None:
    endpoint = Endpoint(IPv6Address("fe80::1%lo"), 51820)
    peer = Peer(key(), endpoint)
    wireguard.add(peer)
    assert shown()[key_text(peer.key)][1] == "[fe80::1%lo]:51820"
    assert wireguard.read().peers[peer.key].endpoint == Endpoint(IPv6Address("fe80::1%1"), 51820)


def test_a_thousand_peers_with_several_allowed_ips_each_are_read_back_complete(wireguard: WireGuard) -> None:
    peers = {peer.key: peer for peer in (full_peer(networks(number)) for number in range(1, MANY + 1))}
    began = time.monotonic()
    for peer in peers.values():
        wireguard.add(peer)
    added = time.monotonic()
    read = wireguard.read().peers
    print(f"{MANY} peers added in {added - began:.2f} s, read in {time.monotonic() - added:.2f} s")
    assert {each: set(peer.allowed_ips) for each, peer in read.items()} == {
        each: set(peer.allowed_ips) for each, peer in peers.items()
    }
    assert all((peer.preshared_key, peer.keepalive) == (PRESHARED, 20) for peer in read.values())
    chosen = next(iter(peers))
    wireguard.readd(read[chosen])
    assert shown() == {key_text(each): as_shown(peer) for each, peer in peers.items()}


def test_a_peer_with_more_allowed_ips_than_one_message_holds_is_read_and_re_added(
    wireguard: WireGuard,
) -> None:
    peer = full_peer(networks(1, 1500))
    wireguard.add(peer)
    read = wireguard.read().peers[peer.key]
    assert len(read.allowed_ips) == 1500
    wireguard.readd(read)
    assert shown() == {key_text(peer.key): as_shown(peer)}


def test_an_interface_that_is_deleted_is_gone_and_no_other_error(wireguard: WireGuard) -> None:
    run(["ip", "link", "del", NAME])
    for attempt in (wireguard.read, lambda: wireguard.add(full_peer()), lambda: wireguard.remove(key())):
        with pytest.raises(OSError, match=NAME) as gone:
            attempt()
        assert gone.value.errno == errno.ENODEV
    with pytest.raises(OSError) as gone:
        open_wireguard(NAME)
    assert gone.value.errno == errno.ENODEV


def test_a_name_that_came_back_as_another_kind_of_interface_is_gone_too(wireguard: WireGuard) -> None:
    run(["ip", "link", "del", NAME])
    run(["ip", "link", "add", NAME, "type", "dummy"])
    with pytest.raises(OSError) as gone:
        wireguard.read()
    assert gone.value.errno == errno.ENODEV
    with pytest.raises(OSError, match="dummy") as other:
        open_wireguard(NAME)
    assert other.value.errno == errno.ENOTSUP


@pytest.mark.parametrize("capability", ["+net_admin", "-net_admin"])
def test_of_all_privileges_only_cap_net_admin_is_needed(keys: KeyPair, capability: str) -> None:
    program = (
        f"from wgautomesh.wireguard.choose import open_wireguard as o; print(o({NAME!r}).read().listen_port)"
    )
    caps = f"-all,{capability}"
    done = subprocess.run(
        [
            *("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"),
            *("--inh-caps", caps, "--ambient-caps", caps, sys.executable, "-c", program),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    if capability == "+net_admin":
        assert (done.stdout.strip(), done.stderr) == (str(PORT), "")
    else:
        assert done.stderr.strip().endswith(f"{NAME}: configuring WireGuard needs CAP_NET_ADMIN")
