"""Junk by the thousand, for two minutes at most:

    python -m tests.lab.flood HOST PORT RATE [learn | VALID [OWN_ADDRESS DEVICE]]

Random, truncated, oversized and empty datagrams in turn, and a good one replayed: VALID (hex), or with
`learn` the first that comes from HOST to the same port of ours. The system parts most of them from one long
one (UDP_SEGMENT, udp(7)), so that the sender takes no processor from who is to bear it. With an own address
they leave from PORT there, through DEVICE. Prints how long the good one is, and begins.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections.abc import Callable

UDP_SEGMENT = 103  # linux/udp.h; the socket module has no name for it
SEGMENTS = 64  # UDP_MAX_SEGMENTS
LONGEST = 65_000  # bytes in one call
# bytes; a nonce has 24, and more than 1,232 is no gossip. Those must pass in one packet: it is 1,252 at most
# where the tunnel's MTU is 1,280, so what is larger goes alone and in fragments.
SIZES = (1, 23, 40, 148, 600, 1232, 1240)
ALONE = (0, 1400, 8000)  # cannot be parted from others: for each long one, one of these
LEARN_TIME = 20.0  # s
SECONDS = 120.0


def main(host: str, port: str, rate: str, valid: str = "", own: str = "", device: str = "") -> None:
    good = _heard(own, int(port)) if valid == "learn" else bytes.fromhex(valid)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if device:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
    sock.bind((own, int(port) if own else 0))
    sock.connect((host, int(port)))
    trains = [_train(size, os.urandom) for size in SIZES]
    if good:
        trains += [_train(len(good), lambda size: good)] * 2
    print(len(good), flush=True)
    began, sent, turn = time.monotonic(), 0, 0
    while (passed := time.monotonic() - began) < SECONDS:
        if sent > passed * float(rate):
            time.sleep(0.0005)
            continue
        parts, data, control = trains[turn % len(trains)]
        alone = os.urandom(ALONE[turn % len(ALONE)])
        turn += 1
        try:
            sock.sendmsg([data], control)
            sent += parts
            sock.send(alone)
            sent += 1
        except ConnectionRefusedError:  # the word of a closed port about an earlier one
            continue
        except BlockingIOError:
            time.sleep(0.0002)


def _train(size: int, make: Callable[[int], bytes]) -> tuple[int, bytes, list[tuple[int, int, bytes]]]:
    """How many datagrams of this size, as one row of bytes, and what has them parted."""
    parts = min(SEGMENTS, LONGEST // size)
    data = b"".join(make(size) for _ in range(parts))
    return parts, data, [(socket.SOL_UDP, UDP_SEGMENT, struct.pack("=H", size))]


def _heard(own: str, port: int) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind((own, port))
        listening.settimeout(LEARN_TIME)
        return listening.recv(2048)


if __name__ == "__main__":
    main(*sys.argv[1:])
