"""Netlink messages as bytes, and WireGuard's own among them: pure functions, no sockets.

The layouts are from linux/uapi/linux/netlink.h, genetlink.h and wireguard.h. Numbers are in the byte order of
the machine, except ports and addresses. We decode these ourselves because a general library takes 380 ms for
the 3,000 peers that take 40 ms here at first, and 18 ms from then on; and it cannot put a removal and an
addition into one message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET, AF_INET6
from struct import Struct, error

from ..values import KEY_SIZE, Device, Endpoint, IPNetwork, Key, Peer, network_of
from .changes import Change

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x01, 0x04, 0x300
NLM_F_DUMP_INTR = 0x10  # the table changed while it was being dumped: what was read may not fit together
NLMSG_ERROR, NLMSG_DONE = 2, 3

GENL_ID_CTRL = 0x10
_CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_ID, _CTRL_ATTR_FAMILY_NAME = 3, 1, 2

_FAMILY_NAME, _FAMILY_VERSION = b"wireguard\0", 1
_GET_DEVICE, _SET_DEVICE = 0, 1
_DEVICE_INDEX, _DEVICE_NAME, _DEVICE_PRIVATE_KEY, _DEVICE_PUBLIC_KEY = 1, 2, 3, 4
_DEVICE_LISTEN_PORT, _DEVICE_PEERS = 6, 8
_PEER_KEY, _PEER_PRESHARED_KEY, _PEER_FLAGS, _PEER_ENDPOINT, _PEER_KEEPALIVE = 1, 2, 3, 4, 5
_PEER_HANDSHAKE, _PEER_RX_BYTES, _PEER_TX_BYTES, _PEER_ALLOWED_IPS = 6, 7, 8, 9
_REMOVE_ME, _REPLACE_ALLOWED_IPS, _UPDATE_ONLY = 1, 2, 4
_ALLOWED_FAMILY, _ALLOWED_ADDRESS, _ALLOWED_MASK = 1, 2, 3

_NESTED = 0x8000  # NLA_F_NESTED; WireGuard's policy is strict and refuses nests without it
_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER

# The nest of all peers is one attribute, whose length is 16 bits. Half of that leaves room for the rest.
_MAX_PEERS_SIZE = 0x8000  # bytes
_ALLOWED_IPS_AT_ONCE = 400  # of 40 bytes at most, so a removal and the first of them share a message

SAME_PEERS = 8192  # whose endpoint and allowed IPs are as at the last read: half of what a read takes

_HEADER = Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_GENERIC = Struct("=BBH")  # struct genlmsghdr: command, version, reserved
_ATTRIBUTE = Struct("=HH")  # struct nlattr: length with this header, type
_ERROR = Struct("=i")  # first of struct nlmsgerr, and all of NLMSG_DONE's
_U16, _U32, _U64 = Struct("=H"), Struct("=I"), Struct("=Q")
_TIMESPEC = Struct("=qq")  # struct __kernel_timespec: s, ns
_SOCKADDR_IN = Struct("=H2s4s8x")  # family, port, address
_SOCKADDR_IN6 = Struct("=H2s4x16sI")  # family, port, flow label, address, scope (this one in our byte order)

_NO_KEY = bytes(KEY_SIZE)  # how the kernel says "none"


def message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(payload), kind, NLM_F_REQUEST | flags, sequence, 0) + payload


def messages(raw: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(type, flags, sequence, payload) of each message in one datagram; ValueError if it is not whole."""
    at = 0
    while at < len(raw):
        if len(raw) - at < _HEADER.size:
            raise ValueError("a netlink message without its header")
        length, kind, flags, sequence, _ = _HEADER.unpack_from(raw, at)
        if not _HEADER.size <= length <= len(raw) - at:
            raise ValueError("a netlink message of impossible length")
        yield kind, flags, sequence, raw[at + _HEADER.size : at + length]
        at += length + 3 & ~3


def error_code(payload: bytes) -> int:
    """The errno in the payload of NLMSG_ERROR or NLMSG_DONE, 0 for success."""
    if len(payload) < _ERROR.size:
        raise ValueError("a netlink error without a code")
    return -int(_ERROR.unpack_from(payload)[0])


def attributes(raw: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(type, start, end) of each attribute in raw[at:end]; ValueError if one is cut off or too short."""
    header = _ATTRIBUTE.unpack_from
    while at + 4 <= end:
        length, kind = header(raw, at)
        after = at + length
        if length < 4 or after > end:
            raise ValueError("a netlink attribute of impossible length")
        yield kind & _TYPE_MASK, at + 4, after
        at = after + 3 & ~3
    if at < end:
        raise ValueError("a netlink attribute without its header")


def attribute(kind: int, payload: bytes) -> bytes:
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def encode_get_family() -> bytes:
    """Payload of the question (to GENL_ID_CTRL) for the message type that WireGuard has on this kernel."""
    return _GENERIC.pack(_CTRL_CMD_GETFAMILY, 1, 0) + attribute(_CTRL_ATTR_FAMILY_NAME, _FAMILY_NAME)


def decode_family(payload: bytes) -> int:
    for kind, start, end in attributes(payload, _GENERIC.size, len(payload)):
        if kind == _CTRL_ATTR_FAMILY_ID and end - start == _U16.size:
            return int(_U16.unpack_from(payload, start)[0])
    raise ValueError("a generic netlink family without an id")


def encode_get_device(name: str) -> bytes:
    """Payload of WG_CMD_GET_DEVICE; send it with NLM_F_DUMP."""
    return _GENERIC.pack(_GET_DEVICE, _FAMILY_VERSION, 0) + attribute(_DEVICE_NAME, name.encode() + b"\0")


def decode_device(payloads: Iterable[bytes]) -> Device:
    """The device from all payloads of one dump, in order.

    Device attributes come in the first. A peer whose allowed IPs do not fit goes on in the next payload, with
    its key and more allowed IPs only. Unknown attributes are skipped; ValueError for anything malformed.
    """
    name: str | None = None
    index = listen_port = 0
    key: Key | None = None
    private_key: bytes | None = None
    peers: dict[Key, Peer] = {}
    try:
        for raw in payloads:
            for kind, start, end in attributes(raw, _GENERIC.size, len(raw)):
                if kind == _DEVICE_PEERS:
                    for _, peer_start, peer_end in attributes(raw, start, end):
                        _add_peer(peers, _decode_peer(raw, peer_start, peer_end))
                elif kind == _DEVICE_INDEX:
                    (index,) = _U32.unpack(raw[start:end])
                elif kind == _DEVICE_NAME:
                    name = raw[start:end].rstrip(b"\0").decode()
                elif kind == _DEVICE_PRIVATE_KEY:
                    private_key = _secret(raw[start:end])
                elif kind == _DEVICE_PUBLIC_KEY:
                    key = Key(_exactly(KEY_SIZE, raw[start:end]))
                elif kind == _DEVICE_LISTEN_PORT:
                    (listen_port,) = _U16.unpack(raw[start:end])
    except error as wrong:
        raise ValueError(f"a netlink attribute of the wrong size: {wrong}") from None
    if name is None:
        raise ValueError("a WireGuard device without a name")
    # Without a private key the kernel leaves out both, but an all-zero one is as good as none too.
    return Device(name, index, key if private_key else None, private_key, listen_port, peers)


def _add_peer(peers: dict[Key, Peer], peer: Peer) -> None:
    first = peers.get(peer.key)
    if first is not None:
        peer = replace(first, allowed_ips=first.allowed_ips + peer.allowed_ips)
    peers[peer.key] = peer


def _decode_peer(raw: bytes, at: int, end: int) -> Peer:
    key: Key | None = None
    endpoint: Endpoint | None = None
    preshared_key: bytes | None = None
    keepalive = handshake = rx_bytes = tx_bytes = 0
    allowed_ips: tuple[IPNetwork, ...] = ()
    for kind, start, stop in attributes(raw, at, end):
        if kind == _PEER_KEY:
            key = Key(_exactly(KEY_SIZE, raw[start:stop]))
        elif kind == _PEER_PRESHARED_KEY:
            preshared_key = _secret(raw[start:stop])
        elif kind == _PEER_ENDPOINT:
            endpoint = _decode_endpoint(raw[start:stop])
        elif kind == _PEER_KEEPALIVE:
            (keepalive,) = _U16.unpack(raw[start:stop])
        elif kind == _PEER_HANDSHAKE:
            seconds, nanoseconds = _TIMESPEC.unpack(raw[start:stop])
            handshake = seconds * 1_000_000_000 + nanoseconds
        elif kind == _PEER_RX_BYTES:
            (rx_bytes,) = _U64.unpack(raw[start:stop])
        elif kind == _PEER_TX_BYTES:
            (tx_bytes,) = _U64.unpack(raw[start:stop])
        elif kind == _PEER_ALLOWED_IPS:
            allowed_ips = _decode_allowed_ips(raw[start:stop])
    if key is None:
        raise ValueError("a WireGuard peer without a key")
    return Peer(key, endpoint, preshared_key, keepalive, allowed_ips, handshake, rx_bytes, tx_bytes)


@lru_cache(SAME_PEERS)
def _decode_allowed_ips(raw: bytes) -> tuple[IPNetwork, ...]:
    return tuple(_decode_allowed_ip(raw, start, end) for _, start, end in attributes(raw, 0, len(raw)))


def _decode_allowed_ip(raw: bytes, at: int, end: int) -> IPNetwork:
    address, mask = b"", -1
    for kind, start, stop in attributes(raw, at, end):
        if kind == _ALLOWED_ADDRESS:
            address = raw[start:stop]
        elif kind == _ALLOWED_MASK:
            (mask,) = _exactly(1, raw[start:stop])
    # The family attribute says nothing that the length of the address does not.
    if len(address) in (4, 16) and 0 <= mask <= 8 * len(address):
        return network_of(address, mask)
    raise ValueError("an allowed IP of the wrong size")


@lru_cache(SAME_PEERS)
def _decode_endpoint(raw: bytes) -> Endpoint:
    """From a struct sockaddr_in or sockaddr_in6; the scope of a link-local address is an interface index."""
    (family,) = _U16.unpack_from(raw)
    if family == AF_INET:
        _, port, address = _SOCKADDR_IN.unpack(raw)
        return Endpoint(IPv4Address(address), int.from_bytes(port, "big"))
    if family == AF_INET6:
        _, port, address, scope = _SOCKADDR_IN6.unpack(raw)
        ip = IPv6Address(address)
        return Endpoint(IPv6Address(f"{ip}%{scope}") if scope else ip, int.from_bytes(port, "big"))
    raise ValueError(f"an endpoint of address family {family}")


def _exactly(size: int, raw: bytes) -> bytes:
    if len(raw) != size:
        raise ValueError(f"a netlink attribute of {len(raw)} bytes instead of {size}")
    return raw


def _secret(raw: bytes) -> bytes | None:
    return None if _exactly(KEY_SIZE, raw) == _NO_KEY else raw


def encode_set_device(name: str, changes: Iterable[Change]) -> list[bytes]:
    """Payloads of WG_CMD_SET_DEVICE, to be sent one after the other: nearly always one.

    Only a peer with hundreds of allowed IPs, or a very long list of changes, takes more. ValueError if the
    scope of an endpoint is not an interface index.
    """
    head = _GENERIC.pack(_SET_DEVICE, _FAMILY_VERSION, 0) + attribute(_DEVICE_NAME, name.encode() + b"\0")
    batches: list[bytearray] = [bytearray()]
    for change in changes:
        for peer in _encode_change(change):
            if len(batches[-1]) + len(peer) > _MAX_PEERS_SIZE:
                batches.append(bytearray())
            batches[-1] += peer
    return [head + attribute(_DEVICE_PEERS | _NESTED, bytes(batch)) for batch in batches if batch]


def _encode_change(change: Change) -> Iterator[bytes]:
    """The peer, and once more with its key only for each further helping of allowed IPs."""
    flags = (
        _REMOVE_ME * change.remove
        | _REPLACE_ALLOWED_IPS * change.replace_allowed_ips
        | _UPDATE_ONLY * change.update_only
    )
    fields = [attribute(_PEER_FLAGS, _U32.pack(flags))]
    if change.preshared_key is not None:
        fields.append(attribute(_PEER_PRESHARED_KEY, change.preshared_key))
    if change.endpoint is not None:
        fields.append(attribute(_PEER_ENDPOINT, _encode_endpoint(change.endpoint)))
    if change.keepalive is not None:
        fields.append(attribute(_PEER_KEEPALIVE, _U16.pack(change.keepalive)))
    further = [attribute(_PEER_FLAGS, _U32.pack(_UPDATE_ONLY))]
    for at in range(0, len(change.allowed_ips) or 1, _ALLOWED_IPS_AT_ONCE):
        some = b"".join(map(_encode_allowed_ip, change.allowed_ips[at : at + _ALLOWED_IPS_AT_ONCE]))
        nest = [attribute(_PEER_ALLOWED_IPS | _NESTED, some)] if some else []
        yield attribute(_NESTED, b"".join([attribute(_PEER_KEY, change.key), *fields, *nest]))
        fields = further


def _encode_allowed_ip(network: IPNetwork) -> bytes:
    family = AF_INET if network.version == 4 else AF_INET6
    return attribute(
        _NESTED,
        attribute(_ALLOWED_FAMILY, _U16.pack(family))
        + attribute(_ALLOWED_ADDRESS, network.network_address.packed)
        + attribute(_ALLOWED_MASK, bytes([network.prefixlen])),
    )


def _encode_endpoint(endpoint: Endpoint) -> bytes:
    port = endpoint.port.to_bytes(2, "big")
    if isinstance(endpoint.ip, IPv4Address):
        return _SOCKADDR_IN.pack(AF_INET, port, endpoint.ip.packed)
    scope = int(endpoint.ip.scope_id or 0)
    return _SOCKADDR_IN6.pack(AF_INET6, port, endpoint.ip.packed, scope)
