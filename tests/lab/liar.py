"""A host on the LAN that lies: it replays what it hears, forges sources, or says that a member is itself.

    python -m tests.lab.liar replay              what it hears, once more, from its own address
    python -m tests.lab.liar forge               what it hears, once more, from the address it came from
    python -m tests.lab.liar pretend SECRET KEY  with the mesh's secret: the member KEY (hex) is where I am

It listens until it reads a line, lies for LIE seconds, and prints how many datagrams it sent.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

import msgpack

from wgautomesh.seal import Seal

LIE = 3.0  # s
PAUSE = 0.05  # s between two lies
PORT = 1666
SO_BINDTODEVICE = socket.SO_BINDTODEVICE


def main(how: str, *arguments: str) -> None:
    (device,) = json.loads(subprocess.check_output(["ip", "-j", "-4", "address", "show", "dev", "eth0"]))
    address = device["addr_info"][0]
    ears = udp(PORT)
    print("listening", flush=True)
    heard = {}
    while ears in select.select([ears, sys.stdin], [], [])[0]:
        data, source = ears.recvfrom(2000)
        heard[data] = source
    if how == "replay":
        told = repeat(ears, [(address["broadcast"], each) for each in heard])
    elif how == "forge":
        told = forge(address["broadcast"], heard)
    else:
        told = pretend(address, *arguments)
    print(told, flush=True)


def udp(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, b"eth0\0")
    sock.bind(("", port))
    return sock


def hear(sock: socket.socket, seconds: float) -> Iterator[tuple[bytes, tuple[str, int]]]:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([sock], [], [], left)[0]:
            yield sock.recvfrom(2000)


def repeat(sock: socket.socket, datagrams: list[tuple[str, bytes]]) -> int:
    count, end = 0, time.monotonic() + LIE
    while datagrams and time.monotonic() < end:
        for host, each in datagrams:
            sock.sendto(each, (host, PORT))
            count += 1
        time.sleep(PAUSE)
    return count


def forge(broadcast: str, heard: dict[bytes, tuple[str, int]]) -> int:
    """As whole IP packets, whose source is free (raw(7))."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    raw.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, b"eth0\0")
    count, end = 0, time.monotonic() + LIE
    while heard and time.monotonic() < end:
        for data, (host, port) in heard.items():
            datagram = struct.pack("!HHHH", port, PORT, 8 + len(data), 0) + data
            ends = IPv4Address(host).packed + IPv4Address(broadcast).packed
            header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 1, socket.IPPROTO_UDP, 0)
            raw.sendto(header + ends + datagram, (broadcast, 0))
            count += 1
        time.sleep(PAUSE)
    return count


def pretend(address: dict[str, str], secret: str, key: str) -> int:
    """Say that the member is here, and pass on what is asked to whoever may know the answer."""
    seal, mouth, count = Seal([secret], "beacon"), udp(0), 0
    beacon = {"k": bytes.fromhex(key), "a": [IPv4Address(address["local"]).packed], "n": bytes(16)}
    end = time.monotonic() + LIE
    while time.monotonic() < end:
        mouth.sendto(seal.seal(msgpack.packb([1, 0, beacon])), (address["broadcast"], PORT))
        count += 1
        for data, (host, _) in hear(mouth, PAUSE):
            if host != address["local"]:
                mouth.sendto(data, (address["broadcast"], PORT))
                count += 1
    return count


if __name__ == "__main__":
    main(*sys.argv[1:])
