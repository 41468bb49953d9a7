"""Which routes there should be, and what to change to get there. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ..admission import DEFAULT_ROUTE
from ..values import Device, IPInterface, IPNetwork, Key

PROTOCOL = 119  # marks routes as ours; iproute2's rt_protos gives it to nobody else


@dataclass(frozen=True, slots=True)
class Route:
    """One route of the main table. `interface` is an index, 0 where it leads elsewhere."""

    network: IPNetwork
    interface: int
    protocol: int


def wanted(
    device: Device,
    members: Iterable[Key],
    addresses: Mapping[int, Collection[IPInterface]],
    *,
    defaults: bool,
) -> frozenset[IPNetwork]:
    """The allowed IPs of members that need a route into the device.

    `addresses` are those of all interfaces that are up, by index. What lies in a network that an interface
    stands in has its way already: through the mesh if it is ours, and directly if it is another. A default
    route, in halves too, would lead the tunnel into itself: only with `defaults`.
    """
    on_link = [each.network for several in addresses.values() for each in several if not each.is_loopback]
    allowed = {
        network
        for key in members
        if (peer := device.peers.get(key))
        for network in peer.allowed_ips
        if defaults or network.prefixlen > DEFAULT_ROUTE
    }
    return frozenset(each for each in allowed if not any(_within(each, other) for other in on_link))


def plan(
    wanted: Collection[IPNetwork], routes: Collection[Route], interface: int
) -> tuple[list[IPNetwork], list[IPNetwork]]:
    """What to add and what to remove. Routes of others stay, and nothing is added where there is one."""
    ours = {each.network for each in routes if (each.protocol, each.interface) == (PROTOCOL, interface)}
    taken = {each.network for each in routes}
    add = [each for each in wanted if each not in taken]
    remove = [each for each in ours if each not in wanted]
    return sorted(add, key=str), sorted(remove, key=str)


def _within(network: IPNetwork, other: IPNetwork) -> bool:
    return network.version == other.version and network.subnet_of(other)  # type: ignore[arg-type]
