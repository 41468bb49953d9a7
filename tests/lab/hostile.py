"""A router that answers everything, and nothing as it should: `hostile.py MODE ADDRESS`, run on the router.

malformed: bytes that are nearly PCP, NAT-PMP, a search's answer and a description. slow: a description that
comes a byte a second. endless: datagrams without end, and a description that never ends.
"""

from __future__ import annotations

import random
import socket
import struct
import sys
import threading
import time

PORT = 5000
FOUND = "HTTP/1.1 200 OK\r\nST: {}\r\nLOCATION: http://{}:5000/root.xml\r\n\r\n"
TARGET = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
BURST = 50  # datagrams after each request, and in each hundredth of a second
CHUNK = b"<device>" * 8192
# PCP's results NETWORK_FAILURE and CANNOT_PROVIDE_EXTERNAL make sense, and the log would repeat it.
MEANT, UNKNOWN = (b"\x07", b"\x0b"), 0xEE


def mapping_server(mode: str, address: str) -> None:
    """PCP and NAT-PMP."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 5351))
    while True:
        asked, client = sock.recvfrom(2000)
        if mode == "malformed":
            for _ in range(BURST):
                sock.sendto(mangled(asked), client)
        elif mode == "endless":
            threading.Thread(target=flood, args=(sock, client), daemon=True).start()


def mangled(asked: bytes) -> bytes:
    """Something like an answer to this, but never a whole one: this router means harm, and no mapping."""
    rng = random.Random()
    if rng.randrange(3) == 0:
        return rng.randbytes(rng.randrange(1500))
    head = bytearray(asked[: rng.randrange(2, len(asked) + 1)])
    head[1] |= 128
    answer = head + rng.randbytes(rng.randrange(64))
    if answer[3:4] in MEANT:
        answer[3] = UNKNOWN
    return bytes(answer[:59])


def flood(sock: socket.socket, client: tuple[str, int]) -> None:
    end = time.monotonic() + 15
    while time.monotonic() < end:
        for _ in range(BURST):
            sock.sendto(bytes([2, 128, 0, 0]) + random.Random().randbytes(20), client)
        time.sleep(0.01)


def announcer(address: str) -> None:
    """Tells the LAN ten times a second that everything began anew, or runs backwards."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 0))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
    while True:
        epoch = random.Random().randbytes(4)
        sock.sendto(bytes([2, 128, 0, 0]) + bytes(4) + epoch + bytes(12), ("224.0.0.1", 5350))
        sock.sendto(bytes([0, 128, 0, 0]) + epoch + bytes([44, 1, 2, 3]), ("224.0.0.1", 5350))
        sock.sendto(b"NOTIFY * HTTP/1.1\r\nNTS: ssdp:alive\r\n\r\n", ("239.255.255.250", 1900))
        time.sleep(0.1)


def search_server(mode: str, address: str) -> None:
    """What answers searches for UPnP devices."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", 1900))
    group = struct.pack("4s4s", socket.inet_aton("239.255.255.250"), socket.inet_aton(address))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    while True:
        asked, client = sock.recvfrom(2000)
        if not asked.startswith(b"M-SEARCH"):
            continue
        if mode == "malformed":
            sock.sendto(b"HTTP/1.1 200 OK\r\nLOCATION: " + random.Random().randbytes(900), client)
        sock.sendto(FOUND.format(TARGET, address).encode(), client)


def serve(mode: str, connection: socket.socket) -> None:
    """One request for the description."""
    try:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n")
        if mode == "malformed":
            connection.sendall(
                b"<?xml version='1.0'?><root><device>\x00\xff<<<" + random.Random().randbytes(5000)
            )
        while mode == "slow":
            connection.sendall(b"<")
            time.sleep(1)
        while mode == "endless":
            connection.sendall(CHUNK)
    except OSError:  # the other side had enough
        pass
    finally:
        connection.close()


def main(mode: str, address: str) -> None:
    for target, arguments in (
        (mapping_server, (mode, address)),
        (search_server, (mode, address)),
        (announcer, (address,)),
    ):
        threading.Thread(target=target, args=arguments, daemon=True).start()
    server = socket.create_server((address, PORT))
    while True:
        connection, _ = server.accept()
        threading.Thread(target=serve, args=(mode, connection), daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
