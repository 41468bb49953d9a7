"""Junk by the thousand: `python -m tests.lab.flood HOST PORT SOURCE_PORT RATE SECONDS [VALID]`.

Random, truncated, oversized and empty datagrams in turn, and VALID (hex), a good one replayed. Prints how
many were handed to the system, and in how many seconds.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import time

BATCH = 64  # datagrams for one system call
SIZES = (0, 1, 23, 40, 148, 600, 1232, 1400)  # bytes; a nonce has 24, and more than 1,232 is no gossip


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Msghdr(ctypes.Structure):  # struct mmsghdr of sendmmsg(2): a struct msghdr and a length
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.POINTER(_Iovec)),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint),
    )


def main(host: str, port: str, source_port: str, rate: str, seconds: str, valid: str = "") -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.bind(("", int(source_port)))
    sock.connect((host, int(port)))
    junk = [os.urandom(SIZES[number % len(SIZES)]) for number in range(BATCH)]
    if valid:
        junk[:: BATCH // 8] = [bytes.fromhex(valid)] * 8
    buffers = [ctypes.create_string_buffer(each, max(1, len(each))) for each in junk]
    vectors = [_Iovec(ctypes.addressof(b), len(each)) for b, each in zip(buffers, junk, strict=True)]
    messages = (_Msghdr * BATCH)(
        *(_Msghdr(None, 0, ctypes.pointer(vector), 1, None, 0, 0, 0) for vector in vectors)
    )
    sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
    began, sent = time.monotonic(), 0
    while (passed := time.monotonic() - began) < float(seconds):
        if sent > passed * float(rate):
            time.sleep(0.0005)
            continue
        sent += max(0, sendmmsg(sock.fileno(), messages, BATCH, 0))
    print(sent, passed, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
