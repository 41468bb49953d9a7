"""Delay and loss on the trunk: a program that lets the packets which the kernel queues to it go late.

It speaks nfnetlink_queue (linux/netfilter/nfnetlink_queue.h) and runs inside the trunk's namespace. Packets
stay in the kernel, only verdicts travel. Standard library only; orders come on stdin, one JSON object a line:
{"IFINDEX": [DELAY, DROP]}. DELAY (s) holds what enters by that interface, and again what leaves by it; DROP
is the share lost of what enters.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator

NETLINK_NETFILTER = 12
SUBSYSTEM_QUEUE = 3 << 8
PACKET, VERDICT, CONFIG = 0, 1, 2
NLM_F_REQUEST = 1
SO_RCVBUFFORCE = 33
CFG_CMD, CFG_PARAMS, CFG_QUEUE_MAXLEN = 1, 2, 3
BIND = 1
COPY_META = 1
PACKET_HEADER, VERDICT_HEADER, INDEV, OUTDEV = 1, 2, 5, 6
DROP, ACCEPT = 0, 1
MAX_HELD = 10_000  # packets in the kernel's queue; more at once is no mesh
RECEIVE_BUFFER = 4 << 20  # bytes; a full one makes the kernel drop what it could not tell us of


def message(kind: int, *attributes: tuple[int, bytes]) -> bytes:
    """A netlink message about queue 0."""
    body = bytes(4)  # nfgenmsg: any family, version 0, queue 0
    for name, value in attributes:
        body += struct.pack("=HH", 4 + len(value), name) + value + bytes(-len(value) % 4)
    return struct.pack("=IHHII", 16 + len(body), SUBSYSTEM_QUEUE | kind, NLM_F_REQUEST, 0, 0) + body


def packets(datagram: bytes) -> Iterator[tuple[int, int, int]]:
    """(packet id, interface in, interface out) of each packet the kernel tells of."""
    at = 0
    while at + 20 <= len(datagram):
        length, kind = struct.unpack_from("=IH", datagram, at)
        if kind == SUBSYSTEM_QUEUE | PACKET:
            found = {}
            here, end = at + 20, at + length
            while here + 4 <= end:
                size, name = struct.unpack_from("=HH", datagram, here)
                if name & 0x3FFF in (PACKET_HEADER, INDEV, OUTDEV):
                    found[name & 0x3FFF] = struct.unpack_from("!I", datagram, here + 4)[0]
                here += size + 3 & ~3
            yield found[PACKET_HEADER], found.get(INDEV, 0), found.get(OUTDEV, 0)
        at += length + 3 & ~3


def serve() -> None:
    ports: dict[int, tuple[float, float]] = {}
    held: list[
        tuple[float, int]
    ] = []  # (when to let go, packet id): ids grow, so equal times keep their order
    queue = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    queue.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    queue.bind((0, 0))
    queue.send(message(CONFIG, (CFG_CMD, struct.pack("!BBH", BIND, 0, 0))))
    queue.send(message(CONFIG, (CFG_PARAMS, struct.pack("!IB", 0, COPY_META))))
    queue.send(message(CONFIG, (CFG_QUEUE_MAXLEN, struct.pack("!I", MAX_HELD))))

    def decide(number: int, verdict: int) -> None:
        queue.send(message(VERDICT, (VERDICT_HEADER, struct.pack("!II", verdict, number))))

    print("ready", flush=True)
    orders = b""
    while True:
        wait = max(0.0, held[0][0] - time.monotonic()) if held else None
        readable = select.select([queue, sys.stdin], [], [], wait)[0]
        if sys.stdin in readable:
            chunk = os.read(sys.stdin.fileno(), 65536)
            if not chunk:
                return
            *lines, orders = (orders + chunk).split(b"\n")
            for line in lines:
                ports.update({int(port): (delay, drop) for port, (delay, drop) in json.loads(line).items()})
                print("ready", flush=True)
        if queue in readable:
            now = time.monotonic()
            for number, came, goes in packets(queue.recv(65536)):
                delay, drop = ports.get(came, (0.0, 0.0))
                if random.random() < drop:
                    decide(number, DROP)
                else:
                    heapq.heappush(held, (now + delay + ports.get(goes, (0.0, 0.0))[0], number))
        now = time.monotonic()
        while held and held[0][0] <= now:
            decide(heapq.heappop(held)[1], ACCEPT)


if __name__ == "__main__":
    os.nice(
        -20
    )  # a wire waits for no processor: with its fair share among fifty nodes it held packets for seconds
    serve()
