"""From hosts in DNS to members of the mesh, and both sources of members as one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..values import IPInterface, Key, Member
from .zone import Complaint, Host, by_number

ORIGIN = "DNS"


def members(
    hosts: Iterable[Host], own: Key, mine: Sequence[IPInterface], *, direct_sites: bool
) -> tuple[list[Member], list[Complaint]]:
    """Members from hosts. `mine` are the addresses of our own interface, with their networks.

    With `direct_sites`, hosts of our own parent domain are left out: they are reached without a tunnel.
    """
    hosts = list(hosts)
    sites = {_site(host) for host in hosts if host.key == own} if direct_sites else set()
    ours = {each.ip for each in mine}
    found, complaints = [], []
    for host in hosts:
        if _site(host) in sites and host.key != own:
            continue
        taken = [each for each in host.addresses if each in ours and host.key != own]
        for each in taken:
            complaints.append(Complaint(f"{host.name} {each}", f"{host.name}: its address {each} is our own"))
        free = tuple(each for each in host.addresses if each not in taken)
        if free:
            found.append(_member(replace(host, addresses=free), mine))
    return found, complaints


def merge(file: Iterable[Member], named: Iterable[Member]) -> tuple[tuple[Member, ...], list[Complaint]]:
    """Members of the file and of the DNS. Where they contradict, the file wins; else they add up."""
    merged = {member.key: member for member in file}
    holders = {each: member for member in merged.values() for each in (member.address, *member.further)}
    complaints = []
    for member in named:
        known = merged.get(member.key)
        addresses = (member.address, *member.further)
        if known and known.address not in addresses:
            text = f"{known}: DNS gives it as {member}: the configuration wins"
            complaints.append(Complaint(f"{member.name} file", text))
            continue
        lost = [each for each in addresses if holders.get(each, known) not in (known, None)]
        for each in lost:
            text = f"{member.name}: {each} is an address of {holders[each]} by the configuration, which wins"
            complaints.append(Complaint(f"{member.name} {each}", text))
        free = [each for each in addresses if each not in lost]
        if known:
            merged[member.key] = replace(
                known,
                endpoints=known.endpoints or member.endpoints,
                name=known.name or member.name,
                further=tuple(each for each in free if each != known.address),
                origin=f"{known.origin} and {ORIGIN}",
            )
        elif member.address in free:
            merged[member.key] = replace(
                member, further=tuple(each for each in free if each != member.address)
            )
    return tuple(merged.values()), complaints


def _member(host: Host, mine: Sequence[IPInterface]) -> Member:
    networks = [each.network for each in mine]
    inside = [
        ip for ip in host.addresses if any(ip in each for each in networks if each.version == ip.version)
    ]
    address = min(inside or host.addresses, key=by_number)
    further = tuple(ip for ip in host.addresses if ip != address)
    return Member(host.key, address, host.endpoints, host.name, further, ORIGIN)


def _site(host: Host) -> str:
    """The parent domain, which hosts of one site share."""
    return host.name.partition(".")[2]
