"""`python -m wgautomesh.portmap.igd REQUEST`: one errand to the router by UPnP, in a process of its own.

miniupnpc reads whatever a gateway sends, for as long as it sends. So it runs here: without capabilities,
with little memory and little time. REQUEST and the answer, one line on standard output, are JSON (`Request`,
`actions.UpnpAnswer`). The parent kills what is not done in time; the alarm is for when the parent is gone.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import chain, product
from random import SystemRandom
from typing import Any
from urllib.parse import urlsplit

TIME_LIMIT = 20  # s; the library waits for a gateway that says nothing for much longer
MEMORY_LIMIT = 128 << 20  # bytes of address space; the library keeps all that a gateway streams
SEARCH_TIMES = (0.3, 1.0, 2.0)  # s since the beginning until which each search is waited for
MAX_DESCRIPTIONS = 4  # a router has one or two
MULTICAST, SSDP_PORT = "239.255.255.250", 1900
TARGETS = (
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
)
QUESTION = (
    'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nMX: 1\r\nST: {}\r\n\r\n'
)
OTHER_PORTS = 8  # tried where any will do
LOWEST_PORT = 1024  # routers refuse lower ones
DESCRIPTION = "wgautomesh"  # shown in the router's list of mappings
FOREVER_ONLY, TAKEN = "OnlyPermanentLeasesSupported", "ConflictInMappingEntry"  # errors 725 and 718, in words

_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4  # linux/prctl.h
_CAPABILITY_VERSION_3 = 0x20080522  # linux/capability.h


@dataclass(frozen=True, slots=True)
class Request:
    router: str  # its address; only a description from there is believed
    ip: str  # ours
    port: int  # WireGuard's
    external_port: int  # 0: any
    lifetime: int  # s
    url: str = ""  # of the router's description, if known: spares the search
    release: bool = False


class Failed(Exception):
    """The errand failed; `trouble` names what kind of `actions.Trouble` that is."""

    def __init__(self, why: str, trouble: str = "REFUSED") -> None:
        super().__init__(why)
        self.trouble = trouble


def main(argument: str) -> dict[str, Any]:
    """Confine this process, run the errand; the answer as `actions.UpnpAnswer` has its fields."""
    confine()
    request = Request(**json.loads(argument))
    import miniupnpc  # noqa: PLC0415 - only now that it can do no harm

    try:
        return run(request, miniupnpc.UPnP)
    except Failed as failed:
        return {"error": str(failed), "trouble": failed.trouble}


def run(request: Request, make: Callable[[], Any]) -> dict[str, Any]:
    """Make the mapping, or see that it is there, or release it. `make` is the library's constructor."""
    router, url = find(request, make)
    if request.release:
        there = None
        with suppress(Exception):
            there = router.getspecificportmapping(request.external_port, "UDP")
        with suppress(Exception):
            if there is None or (there[0], there[1]) == (request.ip, request.port):  # else it is not ours
                router.deleteportmapping(request.external_port, "UDP")
        return {}
    try:
        ip = router.externalipaddress()
    except Exception as error:
        raise Failed(f"its public address is not known: {error}") from None
    for port in ports(request):
        try:
            lifetime, made = keep(router, request, port)
        except Failed as failed:
            if failed.trouble == "REFUSED" and not (ip and ip_address(ip).is_global):
                raise Failed(f"its address {ip or '(none)'} is not public", "PRIVATE") from None
            if request.external_port or failed.trouble != "TAKEN":
                raise
            continue
        return {"ip": ip, "port": port, "lifetime": lifetime, "made": made, "url": url}
    raise Failed("no free port found", "TAKEN")


def find(request: Request, make: Callable[[], Any]) -> tuple[Any, str]:
    """The router, and the address of its description."""
    router, why = make(), ""
    for url in chain([request.url] if request.url else [], search(request)):
        try:
            control = router.selectigd(url)
        except Exception as error:  # the library raises nothing more special
            why = f"{url} describes no router: {error}"
            continue
        if urlsplit(control).hostname == request.router:
            return router, url
        why = f"{url} leads to {urlsplit(control).hostname}"
    raise Failed(why or "no answer", "REFUSED" if why else "SILENT")


def search(request: Request) -> Iterator[str]:
    """Where the router says that its description lies; nobody else is listened to.

    The library's own search takes a second, believes every device, and needs answers to a multicast, which
    firewalls drop. The same question put to the router's own address is answered through them.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.bind((request.ip, 0))
        asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(request.ip))
        found: set[str] = set()
        began = time.monotonic()
        for wait in SEARCH_TIMES:
            for target, to in product(TARGETS, (request.router, MULTICAST)):
                with suppress(OSError):
                    asking.sendto(QUESTION.format(target).encode(), (to, SSDP_PORT))
            while (left := began + wait - time.monotonic()) > 0:
                asking.settimeout(left)
                try:
                    answer, (source, _) = asking.recvfrom(2048)
                except OSError:  # nothing more came, or the router has no such port
                    break
                url = location(answer)
                if source == request.router == urlsplit(url).hostname and url not in found:
                    found.add(url)
                    yield url
                if len(found) >= MAX_DESCRIPTIONS:
                    return


def location(answer: bytes) -> str:
    """What the header LOCATION of an answer to a search says."""
    for line in answer.decode("latin-1").splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() == "location":
            return value.strip()
    return ""


def ports(request: Request) -> Iterator[int]:
    """The external ports to try, best first."""
    if request.external_port:
        return iter([request.external_port])
    rng = SystemRandom()
    others = (rng.randrange(LOWEST_PORT, 65536) for _ in range(OTHER_PORTS))
    return chain([request.port] if request.port >= LOWEST_PORT else [], others)


def keep(router: Any, request: Request, port: int) -> tuple[int, bool]:
    """Have the router map `port` to us: the s that lasts (0 is for ever), and whether it is new."""
    there = router.getspecificportmapping(port, "UDP")
    if there is not None:
        client, internal, words, _, left = there
        if client != request.ip or (internal != request.port and words != DESCRIPTION):
            raise Failed(f"{client} port {internal}", "TAKEN")
        if internal == request.port and (left == 0 or left > request.lifetime / 2):
            return int(left), False
    arguments = (port, "UDP", request.ip, request.port, DESCRIPTION, "")
    for lifetime in (request.lifetime, 0):
        try:
            router.addportmapping(*arguments, lifetime)
        except Exception as error:
            if FOREVER_ONLY in str(error) and lifetime:
                continue
            if TAKEN in str(error):
                raise Failed("another device", "TAKEN") from None
            raise Failed(str(error)) from None
        return lifetime, there is None
    raise AssertionError("a lifetime of 0 returns or raises")


def confine() -> None:
    """Give up every right and most memory. Raises OSError, or ends in a new image of this program."""
    signal.alarm(TIME_LIMIT)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not capabilities():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    if libc.capset(header, (ctypes.c_uint32 * 6)()) == 0:
        return
    # A sandbox may forbid capset. Whoever is not root leaves all rights behind with the next image.
    if libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0 and os.getuid() != 0:
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - there is no shell to use
    raise OSError(ctypes.get_errno(), "cannot give up capabilities")


def capabilities() -> int:
    """Those this process could use: a bit for each."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1], 16) for line in status if line.startswith("CapPrm:"))


if __name__ == "__main__":
    try:
        answer = main(sys.argv[1])
    except MemoryError:
        answer = {"error": "its answer is too large"}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"[:200]}
    print(json.dumps(answer), flush=True)
    os._exit(0)
