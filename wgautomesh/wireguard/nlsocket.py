"""One netlink socket that asks the kernel a question and returns the whole answer. Knows no WireGuard.

A plain AF_NETLINK socket and not pyroute2's: importing that costs 18 MiB and 0.1 s before the first peer
could be configured, and its answers cannot be bounded in time.
"""

from __future__ import annotations

import errno
import os
import socket

from .netlink import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    error_code,
    message,
    messages,
)

NETLINK_GENERIC = 16  # linux/netlink.h; the socket module has no name for it

TIMEOUT = 2.0  # s; the kernel answers at once, or something is badly wrong and must not hold the agent
READ_BUFFER = 65536  # bytes; the kernel never makes a datagram of a dump larger than 32 KiB
DUMP_TRIES = 5  # a table that changes under every one of so many reads is being changed in a loop


class _TornError(Exception):
    """What was dumped may be incomplete."""


class NetlinkSocket:
    """Questions are sent one at a time; every method raises OSError with the kernel's errno."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.settimeout(TIMEOUT)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def ask(self, kind: int, payload: bytes, flags: int = 0) -> bytes:
        """The payload of the one answer, empty where there is only an acknowledgement."""
        return b"".join(self._exchange(kind, NLM_F_ACK | flags, payload))

    def dump(self, kind: int, payload: bytes) -> list[bytes]:
        """The payloads of all answers, read again while they changed in between. EAGAIN if they always do."""
        for _ in range(DUMP_TRIES):
            try:
                return self._exchange(kind, NLM_F_DUMP, payload)
            except _TornError:
                continue
        raise OSError(errno.EAGAIN, "netlink: what is read keeps changing")

    def _exchange(self, kind: int, flags: int, payload: bytes) -> list[bytes]:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        self._socket.sendto(message(kind, flags, self._sequence, payload), (0, 0))
        answers: list[bytes] = []
        torn = False
        while True:
            for answer, answer_flags, sequence, content in self._receive():
                if sequence != self._sequence:
                    continue  # the rest of an answer that an earlier call gave up on
                torn |= bool(answer_flags & NLM_F_DUMP_INTR)
                if answer not in (NLMSG_DONE, NLMSG_ERROR):
                    answers.append(content)
                    continue
                code = error_code(content)
                if code == errno.EINTR or (torn and not code):
                    raise _TornError
                if code:
                    raise OSError(code, os.strerror(code))
                return answers

    def _receive(self) -> list[tuple[int, int, int, bytes]]:
        try:
            raw, (sender, _groups) = self._socket.recvfrom(READ_BUFFER)
        except TimeoutError:
            raise OSError(errno.ETIMEDOUT, f"the kernel did not answer within {TIMEOUT:g} s") from None
        except OSError as failed:
            if failed.errno == errno.ENOBUFS:  # our receive buffer overflowed, part of the answer is lost
                raise _TornError from None
            raise
        if sender != 0:  # another process, not the kernel
            return []
        try:
            return list(messages(raw))
        except ValueError as malformed:
            raise OSError(errno.EBADMSG, str(malformed)) from None
