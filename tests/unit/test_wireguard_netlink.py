"""WireGuard's netlink messages: what the kernel would send is understood, what we send is what it expects."""

from __future__ import annotations

import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgautomesh.values import Device, Endpoint, IPNetwork, Key, Peer
from wgautomesh.wireguard import changes
from wgautomesh.wireguard.changes import Change
from wgautomesh.wireguard.netlink import (
    attribute,
    attributes,
    decode_device,
    decode_family,
    encode_get_device,
    encode_set_device,
    error_code,
    message,
    messages,
)

NESTED = 0x8000
A_KEY = Key(bytes(range(32)))
GENERIC = bytes(4)  # the generic netlink header, which says nothing in an answer

keys = st.binary(min_size=32, max_size=32).map(Key)
secrets = st.none() | st.binary(min_size=32, max_size=32).filter(any)
numbers = st.integers(0, 2**64 - 1)
ports = st.integers(0, 0xFFFF)
link_local = st.builds(
    lambda host, scope: IPv6Address(f"{IPv6Address(0xFE80 << 112 | host)}%{scope}"),
    st.integers(0, 2**64 - 1),
    st.integers(1, 2**32 - 1),
)
addresses = st.ip_addresses() | link_local
endpoints = st.builds(Endpoint, addresses, ports)
networks = st.builds(
    lambda ip, mask: IPv4Network((ip, mask), strict=False), st.ip_addresses(v=4), st.integers(0, 32)
) | st.builds(
    lambda ip, mask: IPv6Network((ip, mask), strict=False), st.ip_addresses(v=6), st.integers(0, 128)
)
peers = st.builds(
    Peer,
    key=keys,
    endpoint=st.none() | endpoints,
    preshared_key=secrets,
    keepalive=st.integers(0, 0xFFFF),
    allowed_ips=st.lists(networks, max_size=5).map(tuple),
    handshake=st.integers(0, 2**62),
    rx_bytes=numbers,
    tx_bytes=numbers,
)


# The other side of the wire, written from linux/uapi/linux/wireguard.h and drivers/net/wireguard/netlink.c.


def kernel_peer(peer: Peer) -> bytes:
    parts = [
        attribute(1, peer.key),
        attribute(2, peer.preshared_key or bytes(32)),
        attribute(6, struct.pack("=qq", *divmod(peer.handshake, 10**9))),
        attribute(5, struct.pack("=H", peer.keepalive)),
        attribute(8, struct.pack("=Q", peer.tx_bytes)),
        attribute(7, struct.pack("=Q", peer.rx_bytes)),
        attribute(10, struct.pack("=I", 1)),
    ]
    if peer.endpoint:
        parts.append(attribute(4, sockaddr(peer.endpoint)))
    return attribute(NESTED, b"".join([*parts, kernel_allowed_ips(peer.allowed_ips)]))


def kernel_peer_goes_on(key: Key, allowed_ips: tuple[IPNetwork, ...]) -> bytes:
    return attribute(NESTED, attribute(1, key) + kernel_allowed_ips(allowed_ips))


def kernel_allowed_ips(allowed_ips: tuple[IPNetwork, ...]) -> bytes:
    nests = [
        attribute(
            NESTED,
            attribute(3, bytes([network.prefixlen]))
            + attribute(1, struct.pack("=H", 2 if network.version == 4 else 10))
            + attribute(2, network.network_address.packed),
        )
        for network in allowed_ips
    ]
    return attribute(9 | NESTED, b"".join(nests))


def sockaddr(endpoint: Endpoint) -> bytes:
    port = struct.pack(">H", endpoint.port)
    if isinstance(endpoint.ip, IPv4Address):
        return struct.pack("=H", 2) + port + endpoint.ip.packed + bytes(8)
    scope = struct.pack("=I", int(endpoint.ip.scope_id or 0))
    return struct.pack("=H", 10) + port + bytes(4) + endpoint.ip.packed + scope


def kernel_device(device: Device, *peer_nests: bytes) -> bytes:
    secret = b"".join([attribute(3, device.private_key or b""), attribute(4, device.key or b"")])
    return (
        GENERIC
        + attribute(6, struct.pack("=H", device.listen_port))
        + attribute(7, struct.pack("=I", 0))
        + attribute(1, struct.pack("=I", device.index))
        + attribute(2, device.name.encode() + b"\0")
        + (secret if device.private_key else b"")
        + attribute(8 | NESTED, b"".join(peer_nests))
    )


def kernel_goes_on(*peer_nests: bytes) -> bytes:
    return GENERIC + attribute(2, b"wg0\0") + attribute(8 | NESTED, b"".join(peer_nests))


def as_the_kernel_applies(payload: bytes) -> tuple[str, list[dict[int, bytes]]]:
    """A SET message as name and list of peers, each its attributes by type."""
    assert payload[:4] == b"\x01\x01\0\0", "command SET_DEVICE, version 1"
    device = {kind: payload[start:end] for kind, start, end in attributes(payload, 4, len(payload))}
    nests = device[8]
    found = []
    for _, start, end in attributes(nests, 0, len(nests)):
        found.append({kind: nests[at:to] for kind, at, to in attributes(nests, start, end)})
    return device[2].rstrip(b"\0").decode(), found


def flags(peer: dict[int, bytes]) -> int:
    return int(struct.unpack("=I", peer[3])[0])


def count_allowed_ips(peer: dict[int, bytes]) -> int:
    return len(list(attributes(peer[9], 0, len(peer[9])))) if 9 in peer else 0


DEVICE = Device("wg0", 7, Key(bytes([9] * 32)), bytes([8] * 32), 51820)


@given(st.lists(peers, max_size=6, unique_by=lambda peer: peer.key), st.integers(1, 3))
def test_a_device_is_read_whole_however_its_peers_are_spread_over_messages(
    some: list[Peer], per_message: int
) -> None:
    nests = [kernel_peer(peer) for peer in some]
    later = [nests[at : at + per_message] for at in range(per_message, len(nests), per_message)]
    dump = [kernel_device(DEVICE, *nests[:per_message]), *(kernel_goes_on(*group) for group in later)]
    read = decode_device(dump)
    assert (read.name, read.index, read.key, read.private_key, read.listen_port) == (
        "wg0",
        7,
        DEVICE.key,
        DEVICE.private_key,
        51820,
    )
    assert list(read.peers.values()) == some


def test_a_peer_split_over_messages_comes_back_as_one() -> None:
    nets = tuple(IPv4Network((index << 8, 24)) for index in range(9))
    peer = Peer(A_KEY, Endpoint(IPv4Address("192.0.2.1"), 5), None, 20, nets[:3], 123, 4, 5)
    other = Peer(Key(bytes([1] * 32)))
    read = decode_device(
        [
            kernel_device(DEVICE, kernel_peer(peer)),
            kernel_goes_on(kernel_peer_goes_on(A_KEY, nets[3:6])),
            kernel_goes_on(kernel_peer_goes_on(A_KEY, nets[6:]), kernel_peer(other)),
        ]
    )
    assert read.peers[A_KEY].allowed_ips == nets
    assert read.peers[A_KEY].endpoint == peer.endpoint
    assert read.peers[A_KEY].handshake == 123
    assert read.peers[other.key] == other


def test_a_device_without_a_private_key_has_no_key() -> None:
    read = decode_device([kernel_device(Device("wg0", 7))])
    assert read.key is None
    assert read.private_key is None


def test_the_scope_of_a_link_local_endpoint_is_read_in_native_order() -> None:
    wanted = Endpoint(IPv6Address("fe80::1%3"), 51820)
    read = decode_device([kernel_device(DEVICE, kernel_peer(Peer(A_KEY, wanted)))])
    assert str(read.peers[A_KEY].endpoint) == "[fe80::1%3]:51820"


def test_unknown_attributes_are_skipped() -> None:
    strange = attribute(99, b"new") + attribute(0, b"")
    peer = attribute(NESTED, attribute(1, A_KEY) + strange)
    raw = kernel_device(DEVICE, peer) + strange
    assert decode_device([raw]).peers == {A_KEY: Peer(A_KEY)}


def test_a_dump_cut_off_anywhere_is_an_error_or_a_shorter_device_but_never_a_crash() -> None:
    peer = Peer(A_KEY, Endpoint(IPv6Address("fe80::1%3"), 1), None, 20, (IPv4Network("10.0.0.1/32"),))
    whole = kernel_device(DEVICE, kernel_peer(peer), kernel_peer(Peer(Key(bytes(32)))))
    refused = 0
    for cut in range(len(whole)):
        try:
            assert not decode_device([whole[:cut]]).peers, (
                "the nest of peers is one attribute: all or nothing"
            )
        except ValueError:
            refused += 1
    assert refused > len(whole) * 0.9


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_dump_is_an_error_or_a_device_but_never_a_crash(data: st.DataObject) -> None:
    peer = Peer(A_KEY, Endpoint(IPv4Address("192.0.2.1"), 1), None, 20, (IPv4Network("10.0.0.1/32"),))
    raw = bytearray(kernel_device(DEVICE, kernel_peer(peer)))
    for at in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=4)):
        raw[at] = data.draw(st.integers(0, 255))
    with suppress(ValueError):
        decode_device([bytes(raw)])


@given(st.binary(max_size=200))
def test_noise_never_crashes(noise: bytes) -> None:
    for decode in (lambda raw: list(messages(raw)), decode_family, lambda raw: decode_device([raw])):
        with suppress(ValueError):
            decode(noise)


def test_an_attribute_of_length_zero_does_not_loop() -> None:
    with pytest.raises(ValueError):
        list(attributes(bytes(8), 0, 8))
    with pytest.raises(ValueError):
        list(messages(bytes(32)))


@given(st.lists(st.tuples(ports, st.integers(0, 255), st.binary(max_size=40)), max_size=5))
def test_messages_in_one_datagram_are_told_apart(some: list[tuple[int, int, bytes]]) -> None:
    raw = b""
    for kind, sequence, payload in some:
        one = message(kind, 0, sequence, payload)
        raw += one + bytes(-len(one) % 4)
    assert [(kind, sequence, payload) for kind, _, sequence, payload in messages(raw)] == some


def test_the_kernels_error_is_an_errno() -> None:
    assert error_code(struct.pack("=i", -19) + bytes(16)) == 19


def test_the_question_names_the_interface() -> None:
    raw = encode_get_device("wg0")
    assert raw[:2] == b"\0\x01"
    assert [(kind, raw[start:end]) for kind, start, end in attributes(raw, 4, len(raw))] == [(2, b"wg0\0")]


@given(peers)
def test_a_peer_that_is_written_is_the_peer_that_is_read(peer: Peer) -> None:
    """What SET carries has the same shape as what GET answers, so our own decoder can read it."""
    (payload,) = encode_set_device("wg0", changes.adding(peer))
    read = decode_device([payload]).peers[peer.key]
    assert (read.endpoint, read.preshared_key, read.keepalive, read.allowed_ips) == (
        peer.endpoint,
        peer.preshared_key,
        peer.keepalive,
        peer.allowed_ips,
    )


def test_readding_is_one_message_that_first_removes() -> None:
    peer = Peer(A_KEY, preshared_key=bytes([3] * 32), allowed_ips=(IPv4Network("10.0.0.1/32"),))
    (payload,) = encode_set_device("wg0", changes.readding(peer))
    name, (gone, anew) = as_the_kernel_applies(payload)
    assert name == "wg0"
    assert flags(gone) == 1
    assert gone[1] == A_KEY
    assert flags(anew) == 0
    assert anew[2] == peer.preshared_key


def test_a_plain_change_makes_no_new_peer_and_touches_nothing_else() -> None:
    (payload,) = encode_set_device("wg0", changes.updating(A_KEY, None, 20, ()))
    _, (peer,) = as_the_kernel_applies(payload)
    assert flags(peer) == 4
    assert set(peer) == {1, 3, 5}


def test_replacing_allowed_ips_is_asked_for_once_only() -> None:
    nets = tuple(IPv4Network((index, 32)) for index in range(1000))
    payloads = encode_set_device("wg0", [Change(A_KEY, replace_allowed_ips=True, allowed_ips=nets)])
    asked = [flags(peer) for payload in payloads for peer in as_the_kernel_applies(payload)[1]]
    assert asked == [2, 4, 4]


def test_a_peer_with_thousands_of_allowed_ips_takes_several_messages() -> None:
    nets = tuple(IPv6Network((index << 64, 64)) for index in range(5000))
    peer = Peer(A_KEY, preshared_key=bytes([3] * 32), allowed_ips=nets)
    payloads = encode_set_device("wg0", changes.readding(peer))
    assert len(payloads) > 1
    assert max(map(len, payloads)) < 0x10000, "the length of an attribute has 16 bits"
    applied = [nest for payload in payloads for nest in as_the_kernel_applies(payload)[1]]
    first = as_the_kernel_applies(payloads[0])[1]
    assert [flags(nest) for nest in first[:2]] == [1, 0], "never only the removal"
    assert sum(map(count_allowed_ips, applied)) == 5000
    assert all(flags(nest) == 4 and set(nest) == {1, 3, 9} for nest in applied[2:])


def test_a_scope_that_is_not_an_index_is_refused() -> None:
    with pytest.raises(ValueError):
        encode_set_device("wg0", changes.updating(A_KEY, Endpoint(IPv6Address("fe80::1%eth0"), 1), None, ()))
