"""Which peers the interface must have, and who owns which address on it.

Pure. The rule behind it all: peers that are not members are never touched, and what a member's peer already
has (preshared key, more allowed IPs, a shorter keepalive) stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from .effects import Admit, Change, Effect, Remove
from .values import Device, IPAddress, IPNetwork, Key, Member, Peer, key_text

KEEPALIVE = 20  # s; 25 s goes out every 26.6 s, too close to NATs that forget UDP after 30 s
DEFAULT_ROUTE = 1  # prefix length up to which a route is for everything, and says nothing of an address


class Routing:
    """Who owns an address on the device, by longest prefix, as WireGuard's cryptokey routing decides it."""

    def __init__(self, peers: Iterable[Peer]) -> None:
        self._hosts: dict[IPAddress, Key] = {}
        self._wide: list[tuple[int, IPNetwork, Key]] = []
        for peer in peers:
            for network in peer.allowed_ips:
                if network.prefixlen == network.max_prefixlen:
                    self._hosts[network.network_address] = peer.key
                else:
                    self._wide.append((network.prefixlen, network, peer.key))
        self._wide.sort(key=lambda entry: -entry[0])

    def owner(self, ip: IPAddress, *, longer_than: int = -1) -> Key | None:
        """The key that speaks for `ip`, by a route longer than the given prefix length."""
        if ip in self._hosts:
            return self._hosts[ip]
        for length, network, key in self._wide:
            if length <= longer_than:
                return None
            if network.version == ip.version and ip in network:
                return key
        return None


@dataclass(slots=True)
class Plan:
    """What to change so that every member is on the interface, and who cannot be."""

    effects: list[Effect] = field(default_factory=list)
    made: set[Key] = field(default_factory=set)
    gone: set[Key] = field(default_factory=set)
    blocked: dict[Key, str] = field(default_factory=dict)


def admit(
    device: Device,
    members: Collection[Member],
    made_before: Collection[Key],
    former: Mapping[Key, Collection[IPNetwork]] | None = None,
) -> Plan:
    """Bring the device in line with the member list.

    `made_before` are the keys this agent made itself, now or in an earlier run: of these, and only of these,
    the ones that are no longer members are removed. `former` are allowed IPs that members had by their
    source's word, and have no more.
    """
    plan = Plan()
    keys = {member.key for member in members}
    for key in made_before:
        if key not in keys and key in device.peers:
            plan.effects.append(Remove(key))
        if key not in keys:
            plan.gone.add(key)
    holders = {
        network: peer.key
        for peer in device.peers.values()
        if peer.key not in plan.gone
        for network in peer.allowed_ips
    }
    new: list[Peer] = []
    for member in members:
        if member.key == device.key:
            continue
        networks = member.networks
        held = [each for each in networks if each in holders and holders[each] not in keys]
        if held:
            ours, theirs = key_text(member.key), key_text(holders[held[0]])
            plan.blocked[member.key] = f"{held[0]} of {ours} is held by the peer {theirs}, which is no member"
            continue
        peer = device.peers.get(member.key)
        if peer is None:
            new.append(Peer(member.key, keepalive=KEEPALIVE, allowed_ips=networks))
            continue
        keepalive = KEEPALIVE if not 0 < peer.keepalive <= KEEPALIVE else None
        kept = tuple(each for each in peer.allowed_ips if each not in (former or {}).get(member.key, ()))
        missing = tuple(each for each in networks if each not in kept)
        if kept != peer.allowed_ips:
            plan.effects.append(Change(member.key, None, keepalive, kept + missing, replace=True))
        elif keepalive is not None or missing:
            plan.effects.append(Change(member.key, keepalive=keepalive, allowed_ips=missing))
    if new:
        plan.effects.append(Admit(tuple(new)))
        plan.made |= {peer.key for peer in new}
    return plan
