"""The keys of the configuration that describe a mesh in DNS."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address

from ..reading import Reader
from ..values import Endpoint, parse_endpoint
from .zone import host_name

KEYS = ("dns_mesh", "dns_port", "direct_sites", "resolver")
DNS_PORT = 53
WIREGUARD_PORT = 51820
INSTALL = "needs dnspython, which is not installed; run pip install dnspython"


@dataclass(frozen=True, slots=True)
class Settings:
    """`name` has the TXT records that name the members. `resolver` None: those of /etc/resolv.conf."""

    name: str
    port: int = WIREGUARD_PORT  # where a host has no SRV record
    resolver: Endpoint | None = None
    direct_sites: bool = False  # leave members of our own parent domain unpeered


def read(reader: Reader, *, running: bool) -> Settings | None:
    """The settings, None without `dns_mesh` or if it is of no use."""
    port = reader.typed("dns_port", int)
    if port is not None and not 0 < port < 65536:
        reader.wrong("dns_port", "is no port; write a number from 1 to 65535")
        port = None
    direct_sites = bool(reader.typed("direct_sites", bool))
    resolver = _resolver(reader)
    if "dns_mesh" not in reader.table:
        for key in KEYS[1:]:
            if key in reader.table:
                reader.wrong(key, "says nothing without dns_mesh; write both, or neither")
        return None
    text = reader.text("dns_mesh", "the name whose TXT records name the members") or ""
    name = host_name(text)
    if name is None:
        if text:
            reader.wrong("dns_mesh", f'"{text}" is no DNS name; write one such as "_p2p.example.com"')
        return None
    if running and find_spec("dns") is None:
        reader.wrong("dns_mesh", INSTALL, fatal="peers" not in reader.table)
        return None
    return Settings(name, port or WIREGUARD_PORT, resolver, direct_sites)


def _resolver(reader: Reader) -> Endpoint | None:
    text = reader.text("resolver", "the DNS server's address") if "resolver" in reader.table else None
    if text is None:
        return None
    try:
        return Endpoint(ip_address(text.strip("[]")), DNS_PORT)
    except ValueError:
        pass
    try:
        endpoint = parse_endpoint(text)
    except ValueError:
        endpoint = None
    if isinstance(endpoint, Endpoint):
        return endpoint
    reader.wrong("resolver", f'"{text}" is no address; write "10.0.0.53" or "10.0.0.53:5353"')
    return None
