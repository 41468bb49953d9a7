"""What an underlay is made of: boxes, the networks they hang on, and cables between them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

from .gateway import Gateway
from .shell import LabError, Namespace


@dataclass(slots=True)
class Segment:
    """A network that boxes hang on: in whose namespace, on which bridge (None: each box has its own link)."""

    ns: Namespace
    bridge: str | None
    v4: IPv4Network | None
    v6: IPv6Network | None
    gateway: int  # the host number of the way up
    given: int = 0  # addresses handed out so far


@dataclass(slots=True)
class Box:
    """A host or a router with its link upwards. `port` is the link's other end, in the segment."""

    name: str
    ns: Namespace
    port: str
    segment: Segment
    above: Box | None
    v4: IPv4Interface | None = None
    v6: IPv6Interface | None = None
    link_local: IPv6Address | None = None
    lan: Segment | None = None
    gateway: Gateway | None = None  # a router's: what opens ports for its LAN
    below: list[Box] = field(default_factory=list)

    def outermost(self) -> Box:
        """The box through which this one reaches the trunk: itself, if it hangs there."""
        return self.above.outermost() if self.above else self

    def upwards(self) -> list[Box]:
        """The box itself and all routers between it and the trunk."""
        return [self, *(self.above.upwards() if self.above else ())]

    def has(self, ip: IPv4Address | IPv6Address) -> bool:
        """Whether this is the box's address upwards. The scope of a link-local one is the asker's own."""
        known = (self.v4.ip if self.v4 else None, self.v6.ip if self.v6 else None, self.link_local)
        return ip.packed in {each.packed for each in known if each}

    def address(self) -> IPv4Address | IPv6Address:
        found = self.v4 or self.v6
        if found is None:
            raise LabError(f"{self.name} has no address")
        return found.ip


@dataclass(slots=True)
class Cable:
    """A LAN that leads nowhere else. `card` is what each host calls its end."""

    ns: Namespace
    card: str
    ends: dict[str, Namespace] = field(default_factory=dict)  # by host

    def break_silently(self) -> None:
        """Nothing gets through any more, and nobody sees a carrier go."""
        self.ns.ip("link set switch down")

    def mend(self) -> None:
        self.ns.ip("link set switch up")

    def unplug(self, name: str) -> None:
        """One host's card loses its carrier."""
        self.ns.ip(f"link set to-{name} down")

    def plug(self, name: str) -> None:
        self.ns.ip(f"link set to-{name} up")

    def carries(self, endpoint: str | None, name: str) -> bool:
        """Whether this is an address that the host has here."""
        shown = json.loads(self.ends[name].run("ip", "-j", "address", "show", "dev", self.card))
        ours = [each["local"] for entry in shown for each in entry.get("addr_info", ())]
        return endpoint is not None and endpoint.rpartition(":")[0].strip("[]").partition("%")[0] in ours
