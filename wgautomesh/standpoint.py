"""Our own side of the network: our addresses, how others see us, and what therefore cannot be anybody else's.

Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .admission import DEFAULT_ROUTE, Routing
from .candidates import refusal
from .messages import Kind, Nat, Route
from .reflexive import Reflexive
from .values import Endpoint, IPAddress, IPInterface, Key, is_in

MAX_LAN_ROUTES = 2  # of each IP version, in our own record


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`addresses` are those on which others might reach us, `mesh` those of the WireGuard interface."""

    addresses: tuple[IPInterface, ...] = ()
    mesh: tuple[IPInterface, ...] = ()


class Standpoint:
    def __init__(self) -> None:
        self.surroundings = Surroundings()
        self.clock_back = 0.0  # s by which our wall clock went back; WireGuard's handshakes carry it
        self.behind_two_nats = False  # our router's mapping ends at a second NAT
        self.mapped: tuple[Endpoint, ...] = ()  # ports that our router opened for us
        self._reflexive = Reflexive()

    def seen(self, observer: Key, endpoint: Endpoint, now: float) -> bool:
        """An observer sees us at `endpoint`; whether that is news."""
        return self._reflexive.seen(observer, endpoint, now)

    def forget(self, observer: Key) -> None:
        self._reflexive.forget(observer)

    def public(self) -> Collection[IPAddress]:
        """The addresses others see us at."""
        return {endpoint.ip for endpoint in self.public_endpoints()}

    def public_endpoints(self) -> Sequence[Endpoint]:
        """Where others see us, one endpoint a family at most."""
        return self._reflexive.public(self._own())

    def is_on_link(self, ip: IPAddress) -> bool:
        """Whether the address lies in a network that we stand on ourselves."""
        return _longest(ip, self.surroundings.addresses) is not None

    def nat(self, port: int) -> Nat:
        """The NAT before us; `port` is the one WireGuard listens on."""
        return self._reflexive.nat(self._own(), port)

    def routes(self, port: int) -> list[Route]:
        """Where we can be reached, for our own record."""
        routes = [Route(Kind.MAPPED, endpoint) for endpoint in self.mapped]
        routes += [Route(Kind.OBSERVED, endpoint) for endpoint in self._reflexive.public(self._own())]
        for version in (4, 6):
            ours = [each.ip for each in self.surroundings.addresses if each.version == version]
            lan = [ip for ip in ours if not ip.is_link_local]  # those mean nothing to others
            routes += [Route(Kind.LAN, Endpoint(ip, port)) for ip in lan[:MAX_LAN_ROUTES]]
        return routes

    def refuses(self, endpoint: Endpoint, routing: Routing) -> bool:
        """Whether no member can be there: an impossible address, our own, or one inside the tunnel.

        An endpoint that is routed into the interface would wrap the tunnel into itself. A member may have a
        whole LAN behind it, though, and a LAN that we stand on ourselves is reached directly.
        """
        around, ip = self.surroundings, endpoint.ip
        if refusal(endpoint, around.addresses):
            return True
        mesh, lan = _longest(ip, around.mesh), _longest(ip, around.addresses)
        if mesh is not None:
            return (
                lan is None or lan <= mesh
            )  # where both hold it, the longer prefix is the way that is taken
        return lan is None and routing.owner(ip, longer_than=DEFAULT_ROUTE) is not None

    def _own(self) -> Collection[IPAddress]:
        return {each.ip for each in self.surroundings.addresses}


def _longest(ip: IPAddress, networks: Collection[IPInterface]) -> int | None:
    """The prefix length of the narrowest of the networks that hold the address."""
    return max((each.network.prefixlen for each in networks if is_in(ip, each)), default=None)
