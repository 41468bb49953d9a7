"""The last good answer of the DNS, as it is kept with the state for the next start. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from ..values import Endpoint, key_text, parse_endpoint, parse_key
from .zone import MAX_HOSTS, Host

MAX_TTL = 2**31 - 1  # s (RFC 2181, section 8)


@dataclass(frozen=True, slots=True)
class Kept:
    """What the mesh `name` was. `ttl` in s, as clamped."""

    name: str
    ttl: float
    hosts: tuple[Host, ...] = ()


def to_state(kept: Kept) -> dict[str, Any]:
    hosts = {
        host.name: {
            "key": key_text(host.key),
            "addresses": [str(each) for each in host.addresses],
            "endpoints": [str(each) for each in host.endpoints],
        }
        for host in kept.hosts
    }
    return {"name": kept.name, "ttl": kept.ttl, "hosts": hosts}


def from_state(state: Any) -> Kept:
    """The inverse of `to_state`. ValueError, TypeError, KeyError or AttributeError for anything else."""
    hosts = tuple(_host(name, host) for name, host in list(state["hosts"].items())[:MAX_HOSTS])
    ttl = state["ttl"]
    if not isinstance(ttl, (int, float)) or not 0 <= ttl <= MAX_TTL:  # JSON knows Infinity and NaN
        raise ValueError("no time to live")
    return Kept(str(state["name"]), float(ttl), hosts)


def _host(name: str, host: Any) -> Host:
    addresses = tuple(ip_address(each) for each in host["addresses"])
    endpoints = tuple(parse_endpoint(each) for each in host["endpoints"])
    fixed = tuple(each for each in endpoints if isinstance(each, Endpoint))
    if not addresses or len(fixed) < len(endpoints):
        raise ValueError("a host without an address")
    return Host(name, parse_key(host["key"]), addresses, fixed)
