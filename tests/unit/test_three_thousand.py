"""What a kernel said of 3,000 peers (recorded by tests/kernel/large.py), read by the code that reads kernels.

How long that takes is a figure of `make bench`; here it is counted what is done for each peer, which no busy
machine changes.
"""

from __future__ import annotations

import lzma
import sys
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from types import FrameType

import pytest

from wgautomesh.values import Device, Endpoint, Key, Member, Peer
from wgautomesh.wireguard import netlink
from wgautomesh.wireguard.kernel import KernelWireGuard
from wgautomesh.wireguard.netlink import attribute, message, messages

RECORDED = Path(__file__).with_name("three-thousand-peers.xz")
COUNT = 3000
CALLS, CALLS_AGAIN = (
    100,
    45,
)  # for a peer when it is read first, and again: 12 and 5 µs where that was counted


class RecordedSocket:
    """The kernel that was recorded: its family has the number of then, and every dump is the same."""

    def __init__(self) -> None:
        self.recorded = lzma.decompress(RECORDED.read_bytes())
        _, _, self.sequence, _ = next(messages(self.recorded))
        family = bytes(4) + attribute(1, self.recorded[4:6])
        self.answers = [message(16, 0, 1, family) + message(2, 0, 1, bytes(4))]
        self.datagrams: list[bytes] = []

    def sendto(self, raw: bytes, address: tuple[int, int]) -> None:
        ((_, _, sequence, _),) = messages(raw)
        if sequence > 1:  # the kernel answers with the number of the question
            parts = messages(self.recorded)
            self.answers = [message(kind, flags, sequence, content) for kind, flags, _, content in parts]
        self.datagrams = list(self.answers)

    def recvfrom(self, size: int) -> tuple[bytes, tuple[int, int]]:
        datagram = self.datagrams.pop(0)
        assert len(datagram) <= size
        return datagram + bytes(-len(datagram) % 4), (0, 0)

    def settimeout(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def wireguard(monkeypatch: pytest.MonkeyPatch) -> KernelWireGuard:
    recorded = RecordedSocket()
    monkeypatch.setattr("socket.socket", lambda *_: recorded)
    netlink._decode_allowed_ips.cache_clear()
    netlink._decode_endpoint.cache_clear()
    return KernelWireGuard("wglarge0")


def counted(read: KernelWireGuard) -> tuple[Device, float]:
    """What it reads, and how many calls that took for each peer."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        device = read.read()
    finally:
        sys.setprofile(None)
    return device, calls / COUNT


def test_all_of_three_thousand_peers_are_read_with_all_they_have(wireguard: KernelWireGuard) -> None:
    device = wireguard.read()
    assert (device.name, device.listen_port, len(device.peers)) == ("wglarge0", 51820, COUNT)
    assert device.key and device.private_key
    for number, (key, peer) in enumerate(device.peers.items()):
        address = ip_network(IPv4Address("10.77.16.1") + number)
        v6 = number % 3 == 2
        further = (ip_network(IPv6Address("fd77::") + number),) if v6 else ()
        place = IPv6Address("2001:db8::") + number if v6 else IPv4Address("192.0.0.0") + number
        assert key[:2] == number.to_bytes(2, "big")
        assert peer == Peer(
            key,
            Endpoint(place, 51820),
            device.private_key if number % 10 == 0 else None,
            20,
            (address, *further),
        )


def test_what_the_device_and_a_member_have_in_common_is_kept_once(wireguard: KernelWireGuard) -> None:
    peers = wireguard.read().peers.values()
    members = (Member(Key(bytes(32)), IPv4Address("10.77.16.1") + number) for number in range(COUNT))
    assert all(peer.allowed_ips[0] is member.networks[0] for peer, member in zip(peers, members, strict=True))


def test_a_peer_costs_so_many_calls_and_half_of_them_when_nothing_of_it_changed(
    wireguard: KernelWireGuard,
) -> None:
    first, calls = counted(wireguard)
    again, calls_again = counted(wireguard)
    assert again == first
    assert calls < CALLS
    assert calls_again < CALLS_AGAIN
