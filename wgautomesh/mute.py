"""Has the kernel drop what comes from certain addresses to a UDP socket of ours, before it is queued there.

By a classic BPF program (linux/filter.h, socket(7)), which needs no privilege. Who floods us then takes
neither our time nor the room in the queue that others need. Only for addresses that WireGuard proved: whoever
forges another's could have that one muted.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Collection

from .values import IPAddress

MAX_MUTED = 64  # addresses; more would make every datagram slow to judge

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # asm-generic/socket.h
_LOAD_WORD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06  # LD|W|ABS, JMP|JEQ|K, RET|K in linux/bpf_common.h
_NETWORK_HEADER = 0xFFF00000  # SKF_NET_OFF, as an unsigned number
_SOURCE = {4: 12, 6: 8}  # bytes into the IP header (RFC 791, 3.1; RFC 8200, 3)
_STEP = struct.Struct("=HBBI")  # struct sock_filter


def program(addresses: Collection[IPAddress]) -> bytes:
    """Drops what comes from these addresses, and keeps all else."""
    steps = b""
    for ip in addresses:
        words = [ip.packed[at : at + 4] for at in range(0, len(ip.packed), 4)]
        for number, word in enumerate(words):
            to_the_next_address = 2 * (len(words) - number) - 1
            steps += _STEP.pack(_LOAD_WORD, 0, 0, _NETWORK_HEADER + _SOURCE[ip.version] + 4 * number)
            steps += _STEP.pack(_JUMP_EQUAL, 0, to_the_next_address, int.from_bytes(word, "big"))
        steps += _STEP.pack(_RETURN, 0, 0, 0)
    return steps + _STEP.pack(_RETURN, 0, 0, 0xFFFFFFFF)


def mute(sock: socket.socket, addresses: Collection[IPAddress]) -> None:
    """These and no others, all of the socket's IP version. Raises OSError."""
    if not addresses:
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
        return
    steps = program(addresses)
    kept = ctypes.create_string_buffer(steps, len(steps))
    filter_of = struct.pack("HP", len(steps) // _STEP.size, ctypes.addressof(kept))  # struct sock_fprog
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_of)
