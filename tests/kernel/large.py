"""Three thousand peers that are nobody, the same ones each time; and what the kernel says of them, recorded.

    python -m tests.kernel tests/kernel/large.py

writes the kernel's answer to failures/three-thousand-peers.xz; it stands in tests/unit for the tests there.
"""

from __future__ import annotations

import base64
import lzma
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

from wgautomesh.wireguard.netlink import (
    GENL_ID_CTRL,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLMSG_DONE,
    decode_family,
    encode_get_device,
    encode_get_family,
    message,
    messages,
)
from wgautomesh.wireguard.nlsocket import NETLINK_GENERIC, READ_BUFFER

from ..lab.shell import run
from .__main__ import FAILURES

COUNT = 3000
FIRST = IPv4Address("10.77.16.1")  # in the lab's mesh, behind its own nodes
NAME = "wglarge0"
PRIVATE = base64.b64encode(bytes([*range(31), 64])).decode()  # nobody's


def peers() -> Iterator[tuple[str, str]]:
    """Key and allowed IP of each. Keys that differ in two bytes are as good as any, and take no room."""
    for number in range(COUNT):
        key = number.to_bytes(2, "big") + bytes(range(2, 32))
        yield base64.b64encode(key).decode(), f"{FIRST + number}/32"


def members() -> str:
    """Them as [[peers]] of a configuration, without endpoints."""
    return "".join(
        f'\n[[peers]]\npubkey = "{key}"\naddress = "{address.partition("/")[0]}"\n'
        for key, address in peers()
    )


def answer(name: str) -> bytes:
    """All datagrams with which the kernel answers when asked for this interface, one after the other."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC) as ask:
        ask.settimeout(10)
        ask.sendto(message(GENL_ID_CTRL, NLM_F_ACK, 1, encode_get_family()), (0, 0))
        family = next(decode_family(payload) for _, _, _, payload in messages(ask.recv(READ_BUFFER)))
        ask.recv(READ_BUFFER)  # the acknowledgement
        ask.sendto(message(family, NLM_F_DUMP, 2, encode_get_device(name)), (0, 0))
        heard = b""
        while True:
            datagram = ask.recv(READ_BUFFER)
            heard += datagram
            if any(kind == NLMSG_DONE for kind, *_ in messages(datagram)):
                return heard


def test_record_the_answer(tmp_path: Path) -> None:
    """Two thirds with an endpoint of IPv4, a third of IPv6 and with a further allowed IP; some preshared."""
    lines = [f"[Interface]\nPrivateKey = {PRIVATE}\nListenPort = 51820"]
    for number, (key, address) in enumerate(peers()):
        lines.append(f"[Peer]\nPublicKey = {key}\nPersistentKeepalive = 20")
        if number % 3 == 2:
            lines.append(
                f"Endpoint = [2001:db8::{number:x}]:51820\nAllowedIPs = {address},fd77::{number:x}/128"
            )
        else:
            lines.append(f"Endpoint = 192.0.{number >> 8}.{number & 255}:51820\nAllowedIPs = {address}")
        if number % 10 == 0:
            lines.append(f"PresharedKey = {PRIVATE}")
    settings = tmp_path / "peers.conf"
    settings.write_text("\n".join(lines) + "\n")
    run(["ip", "link", "add", NAME, "type", "wireguard"])
    try:
        run(["wg", "setconf", NAME, str(settings)])
        recorded = answer(NAME)
    finally:
        run(["ip", "link", "del", NAME])
    (FAILURES / "three-thousand-peers.xz").write_bytes(
        lzma.compress(recorded, preset=9 | lzma.PRESET_EXTREME)
    )
