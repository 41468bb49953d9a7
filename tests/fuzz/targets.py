"""What is fuzzed: one function for each thing that reads bytes of somebody else's.

A target takes any bytes. It returns when they were read or refused as they should be; anything it raises is
a finding. Seeds are made, not kept: what the other side would really send. `python -m tests.fuzz` lets
atheris search; the unit tests run seeds, neighbours of seeds and all findings, on every Python.
"""

from __future__ import annotations

import json
import selectors
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Interface, ip_address, ip_network
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import dns.exception
import dns.message
import dns.rdatatype
import msgpack
from nacl.public import Box, PrivateKey

from wgautomesh import config, control, messages, store
from wgautomesh.beacon import Beacons, Found
from wgautomesh.candidates import MAX_CANDIDATES
from wgautomesh.dnsmesh import queries, zone
from wgautomesh.mesh import Mesh, Past
from wgautomesh.messages import (
    Answer,
    AskLinks,
    Hello,
    Introduce,
    Introduction,
    Kind,
    Links,
    LinkWord,
    Record,
    Records,
    Route,
    Seek,
)
from wgautomesh.portmap import helper, igd, natpmp, pcp
from wgautomesh.report import View
from wgautomesh.seal import Seal
from wgautomesh.standpoint import Surroundings
from wgautomesh.values import Device, Endpoint, Key, Member, Peer, key_text
from wgautomesh.wireguard import netlink, uapi

OWN, MEMBER, OTHER = (PrivateKey(bytes([number]) * 32) for number in (1, 2, 3))
OWN_KEY, MEMBER_KEY, OTHER_KEY = (Key(bytes(each.public_key)) for each in (OWN, MEMBER, OTHER))
HERE, THERE, ELSEWHERE = (Endpoint(ip_address(f"44.128.2.{number}"), 51820) for number in (1, 2, 3))
LAN_IP, LAN_NEIGHBOUR, MESH_IP = (ip_address(each) for each in ("192.168.1.5", "192.168.1.7", "10.14.0.2"))
EFFECTS_OF_ONE = 100  # of one datagram, in a mesh of three
KINDS = ("TXT", "A", "AAAA", "SRV")  # the DNS records we ask for


@dataclass(frozen=True, slots=True)
class Target:
    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]


# -- the tunnel -------------------------------------------------------------------------------------------


def datagram(data: bytes) -> None:
    """A datagram through the tunnel: as it is, and as what its sender sealed."""
    assert Seal(["secret"], "gossip").open(data) is None
    try:
        message = messages.decode(data)
    except (messages.Malformed, messages.Newer):
        return
    if message is None:
        return
    assert messages.decode(messages.encode(message)) == message
    mesh, now = a_mesh(), 1000.0
    for _ in range(2):
        effects = mesh.receive(MESH_IP, message, now)
        assert len(effects) <= EFFECTS_OF_ONE
        now = max(now, min(mesh.next_tick(), now + 60))
        mesh.tick(now)
    assert set(mesh.gossip.book) <= {OWN_KEY, MEMBER_KEY, OTHER_KEY}
    assert all(len(link.candidates) <= MAX_CANDIDATES for link in mesh.links.values())


def a_mesh() -> Mesh:
    """We are connected to one member, not to the other."""
    addresses = {MEMBER_KEY: MESH_IP, OTHER_KEY: ip_address("10.14.0.3")}
    members = [Member(key, ip) for key, ip in addresses.items()]
    mesh = Mesh(OWN_KEY, members, rng=Random(1), now=999.0, past=Past())
    lan, tunnel = IPv4Interface("192.168.1.9/24"), IPv4Interface("10.14.0.1/24")
    mesh.network(Surroundings((lan,), (tunnel,)), 999.0)
    peers = {
        key: Peer(key, THERE if key == MEMBER_KEY else None, None, 20, (ip_network(ip),), key == MEMBER_KEY)
        for key, ip in addresses.items()
    }
    mesh.device(Device("wg", 1, OWN_KEY, None, 51820, peers), 999.0)
    mesh.receive(MESH_IP, Hello(1, 0, HERE), 999.5)
    mesh.census.ask(999.5)  # so that what is said of links is taken in
    return mesh


def datagram_seeds() -> Iterable[bytes]:
    routes = (Route(Kind.LAN, Endpoint(LAN_IP, 51820), 7), Route(Kind.OBSERVED, THERE))
    record = Record(OTHER_KEY, 5, messages.Nat.STABLE, routes)
    said: tuple[messages.Message, ...] = (
        Hello(1, 2, HERE),
        Answer(3, 2**63),
        Records((record, Record(OWN_KEY, 2**31), Record(MEMBER_KEY, 0))),
        messages.Summary(tuple(range(messages.BUCKETS)), reply=True),
        Seek((OTHER_KEY, OWN_KEY)),
        Introduce((Introduction(OTHER_KEY, record, ELSEWHERE, 0.1, 0.2),)),
    )
    yield from map(messages.encode, said)
    asked = a_mesh().census.number
    yield messages.encode(AskLinks(asked))
    yield messages.encode(
        Links(asked, 3, (LinkWord(OTHER_KEY, messages.Path.LAN, 0.1), LinkWord(OWN_KEY, None)))
    )
    yield msgpack.packb([1, 9, {}])


# -- the LAN ----------------------------------------------------------------------------------------------


def lan(data: bytes) -> None:
    """What a holder of the secret says on the LAN; where the first byte is below 4, in a member's box."""
    beacons = Beacons(bytes(OWN), OWN_KEY, lambda: (MEMBER_KEY, OTHER_KEY))
    beacons._spoken[bytes(16)] = 2000.0  # so that a challenge can be guessed
    plain = data
    if data[:1] < b"\4":
        boxed = Box(MEMBER, OWN.public_key).encrypt(data[1:])
        plain = msgpack.packb([1, int.from_bytes(data[:1], "big"), {"k": MEMBER_KEY, "b": bytes(boxed)}])
    for _ in range(2):
        replies = beacons.receive(plain, LAN_NEIGHBOUR, [LAN_IP], 51820, 1000.0)
        assert len(replies) <= 2 and not any(isinstance(each, Found) for each in replies)


def lan_seeds() -> Iterable[bytes]:
    speaker = Beacons(bytes(MEMBER), MEMBER_KEY, lambda: (OWN_KEY,))
    yield speaker.beacon([LAN_NEIGHBOUR], 1000.0)
    for kind in (1, 2):
        yield bytes([kind, kind]) + MEMBER_KEY + bytes(32) + LAN_IP.packed
        yield msgpack.packb([1, kind, {"k": MEMBER_KEY, "b": bytes(100)}])


# -- WireGuard --------------------------------------------------------------------------------------------


def userspace(data: bytes) -> None:
    """A userspace WireGuard's answer."""
    with suppress(ValueError):
        lines, code = uapi.split_answer(data)
        assert 0 <= code <= 4095
        _check_device(uapi.parse_device("wg", 1, lines, _scope))


def _scope(name: str) -> int:
    if name != "eth0":
        raise OSError(19, "no such device")
    return 2


def _check_device(device: Device) -> None:
    assert device.key is None or len(device.key) == 32
    for key, peer in device.peers.items():
        assert key == peer.key and len(key) == 32
        str(peer.endpoint)


def userspace_seeds() -> Iterable[bytes]:
    key = MEMBER_KEY.hex()
    yield (
        f"private_key={bytes(OWN).hex()}\nlisten_port=51820\nfwmark=1\npublic_key={key}\n"
        f"preshared_key={'00' * 32}\nprotocol_version=1\nendpoint=[fe80::1%eth0]:51820\n"
        "last_handshake_time_sec=1\nlast_handshake_time_nsec=5\ntx_bytes=1\nrx_bytes=2\n"
        "persistent_keepalive_interval=20\nallowed_ip=10.14.0.2/32\nallowed_ip=fd00::/8\n"
        f"public_key={OTHER_KEY.hex()}\nendpoint=44.128.2.2:1\nerrno=0\n\n"
    ).encode()
    yield b"errno=-19\n\n"


def kernel(data: bytes) -> None:
    """Datagrams of the kernel, whose messages are one dump. First two bytes: where the second begins."""
    cut = 2 + int.from_bytes(data[:2], "big")
    with suppress(ValueError):
        payloads = []
        for raw in (data[2:cut], data[cut:]):
            for kind, _, _, payload in netlink.messages(raw):
                payloads.append(payload)
                with suppress(ValueError):
                    if kind in (netlink.NLMSG_ERROR, netlink.NLMSG_DONE):
                        netlink.error_code(payload)
                with suppress(ValueError):
                    netlink.decode_family(payload)
        _check_device(netlink.decode_device(payloads))


def kernel_seeds() -> Iterable[bytes]:
    a, n = netlink.attribute, 0x8000
    network = a(n, a(1, b"\2\0") + a(2, bytes([10, 14, 0, 2])) + a(3, b"\x20"))
    wide = a(n, a(1, b"\x0a\0") + a(2, bytes(16)) + a(3, b"\x40"))
    place = b"\2\0\xca\x6c" + bytes([44, 128, 2, 2]) + bytes(8)
    peer = a(1, MEMBER_KEY) + a(2, bytes(32)) + a(4, place) + a(5, b"\x14\0") + a(6, bytes(16))
    peer += a(7, bytes(8)) + a(8, bytes(8)) + a(9 | n, network + wide)
    more = a(1, MEMBER_KEY) + a(4, b"\x0a\0\xca\x6c" + bytes(20) + b"\2\0\0\0") + a(9 | n, network)
    head = a(1, b"\1\0\0\0") + a(2, b"wg\0") + a(3, bytes(OWN)) + a(4, OWN_KEY) + a(6, b"\x6c\xca")
    first = netlink.message(20, 0, 1, bytes(4) + head + a(8 | n, a(n, peer)))
    second = netlink.message(20, 0, 1, bytes(4) + a(2, b"wg\0") + a(8 | n, a(n, more)))
    done = netlink.message(netlink.NLMSG_DONE, 0, 1, bytes(4))
    yield len(first).to_bytes(2, "big") + first + second + done
    yield b"\0\0" + netlink.message(16, 0, 1, bytes(4) + a(1, b"\x1c\0"))


# -- files ------------------------------------------------------------------------------------------------


def configuration(data: bytes) -> None:
    file = cast(Path, SimpleNamespace(read_bytes=lambda: data))
    for running in (False, True):
        loaded, mistakes = config.load(file, {}, running=running)
        assert (loaded is None) == any(each.fatal for each in mistakes)
        assert all(str(each).isprintable() or "\\" in str(each) or str(each) for each in mistakes)


def configuration_seeds() -> Iterable[bytes]:
    peer = f'[[peers]]\nname = "a"\npubkey = "{key_text(MEMBER_KEY)}"\naddress = "10.14.0.2"\n'
    yield (
        'interface = "wg0"\ngossip_port = 1666\ngossip_secret = "x"\npersist_file = "$HOME/x"\n'
        'lan_discovery = true\nlan_interfaces = ["eth0", "br-*"]\nupnp_forward_external_port = 0\n'
        f'ipv6 = true\ncontrol_socket = "/run/x"\n{peer}endpoint = "[2001:db8::1]:51820"\n'
        f'{peer}endpoint = "h.example:1"\n'
    ).encode()
    yield b'interface = "wg0"\ndns_mesh = "_p2p.example"\ndns_port = 5\nresolver = "10.0.0.53:5"\n'


def state(data: bytes) -> None:
    """The state file: what is read can be written, and read again."""
    try:
        memory = store._parse(data)
    except ValueError:
        return
    assert all(len(kept) <= store.MAX_ENDPOINTS for kept in memory.endpoints.values())
    if memory.dns:
        assert 0 <= memory.dns.ttl < float("inf")
    assert store._parse(store._format(memory)) == memory


def state_seeds() -> Iterable[bytes]:
    host = {"key": key_text(MEMBER_KEY), "addresses": ["10.14.0.2"], "endpoints": ["44.128.2.2:1"]}
    full = {
        "version": 1,
        "added": [key_text(MEMBER_KEY)],
        "endpoints": {key_text(OTHER_KEY): ["44.128.2.2:1", "[fe80::1%2]:5"]},
        "dns": {"name": "_p2p.example", "ttl": 60.0, "hosts": {"a.example": host}},
    }
    yield json.dumps(full).encode()
    yield b'{"version": 1}'


# -- whoever asks us, and whom we ask ---------------------------------------------------------------------


def asked(data: bytes) -> None:
    """A line on the control socket."""
    pieces = [each for each in a_control()._answer(data, 10.0) if isinstance(each, bytes)]
    answer = json.loads(b"".join(pieces))
    assert answer["version"] == 1 and answer["kind"] in ("status", "explain", "graph", "error")
    assert sum(map(len, pieces)) < 100_000


@cache
def a_control() -> control.Control:
    view = View("wg0", (Member(MEMBER_KEY, MESH_IP, (), "attic"),), 10.0, 0.0, mesh=a_mesh())
    return control.Control(selectors.DefaultSelector(), Path("unused"), lambda now: view, lambda now: None)


def asked_seeds() -> Iterable[bytes]:
    yield b'{"ask": "status"}'
    yield b'{"ask": "graph"}'
    yield b'{"ask": "explain", "peer": "attic"}'
    yield json.dumps({"ask": "explain", "peer": key_text(OTHER_KEY)[:6]}).encode()


def router(data: bytes) -> None:
    """What a router answers, by any of the protocols it may speak."""
    natpmp.decode(data)
    pcp.decode(data)
    igd.location(data)
    found = helper.parse(data)
    assert len(found.error) <= helper.MAX_WORDS


def router_seeds() -> Iterable[bytes]:
    yield bytes([0, 128, 0, 0, 0, 0, 0, 9, 44, 128, 1, 1])
    yield bytes([0, 129, 0, 0, 0, 0, 0, 9, 0xCA, 0x6C, 0xCA, 0x6C, 0, 0, 0x1C, 0x20])
    yield bytes([2, 129, 0, 0, 0, 0, 0x1C, 0x20, 0, 0, 0, 9]) + bytes(24) + bytes([17]) + bytes(27)
    yield bytes([2, 129, 0, 11, 0, 0, 0, 30, 0, 0, 0, 9]) + bytes(48)
    yield b"HTTP/1.1 200 OK\r\nST: x\r\nLOCATION: http://192.168.1.1:5000/rootDesc.xml\r\n\r\n"
    yield b'{"ip": "44.128.1.1", "port": 51820, "lifetime": 3600, "made": true, "url": "http://x/"}'
    yield b'{"error": "no", "taken": true, "silent": false}'


def name_server(data: bytes) -> None:
    """A DNS server's datagram: first as it is, then with its question taken for ours."""
    try:
        response = dns.message.from_wire(data)
        if not response.question or (kind := _kind(response)) not in KINDS:
            return
        query = dns.message.make_query(response.question[0].name, kind, id=response.id)
        if not query.is_response(response):
            return
        answer = queries.read_answer(response, kind)
    except (dns.exception.DNSException, ValueError):
        return
    answers = {"keys": answer, "names": answer} if kind == "TXT" else {"services": answer}
    if kind in ("A", "AAAA"):
        answers = {"allowed": answer, "addresses": answer}
    names, _ = zone.host_names(cast(Any, answers.pop("names", zone.Answer()).values))
    assert len(names) <= zone.MAX_HOSTS
    host, _ = zone.read_host("a.example", zone.HostAnswers(**cast(Any, answers)), 51820, None)
    assert host is None or len(host.addresses) <= zone.MAX_ADDRESSES


def _kind(response: dns.message.Message) -> str:
    return dns.rdatatype.to_text(response.question[0].rdtype)


def name_server_seeds() -> Iterable[bytes]:
    values = {"TXT": f'"{key_text(MEMBER_KEY)}"', "A": "10.14.0.2", "AAAA": "fd00::2", "SRV": "0 0 5 a.b."}
    for kind, value in values.items():
        query = dns.message.make_query("a.example.", kind, id=7)
        response = dns.message.make_response(query)
        response.answer.append(dns.rrset.from_text("a.example.", 60, "IN", "CNAME", "b.example."))
        response.answer.append(dns.rrset.from_text("b.example.", 60, "IN", kind, value))
        yield response.to_wire()


TARGETS = {
    "datagram": Target(datagram, datagram_seeds),
    "lan": Target(lan, lan_seeds),
    "userspace": Target(userspace, userspace_seeds),
    "kernel": Target(kernel, kernel_seeds),
    "configuration": Target(configuration, configuration_seeds),
    "state": Target(state, state_seeds),
    "control": Target(asked, asked_seeds),
    "router": Target(router, router_seeds),
    "dns": Target(name_server, name_server_seeds),
}
