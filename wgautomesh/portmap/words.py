"""What a person reads when a mapping cannot be made or is of no use. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ..values import IPAddress
from .actions import Complaint, Trouble, Way, Wish


def nothing_opened(wish: Wish, troubles: Mapping[Way, tuple[Trouble, str]]) -> Complaint:
    """Nobody opened a port; `troubles` say why, with the router's own words."""
    router, port = wish.router, wish.external_port
    found = {trouble for trouble, _ in troubles.values()}
    if Trouble.TAKEN in found:
        trouble, holder = troubles.get(Way.UPNP, (None, ""))
        by = f" by {holder}" if trouble is Trouble.TAKEN and holder else ""
        text = f"port {port} of the router {router} is taken{by}; choose another, or 0 for any"
        return Complaint(Trouble.TAKEN, text)
    if Trouble.REFUSED in found:
        whys = [f"{way.value}: {why}" for way, (_, why) in troubles.items() if why]
        return Complaint(Trouble.REFUSED, f"the router {router} opens no port ({'; '.join(whys)})")
    if router.version == 6:
        return Complaint(Trouble.SILENT, f"the router {router} does not answer to PCP")
    # Answers to PCP and NAT-PMP pass every firewall, and so do those to a search that is sent to the router
    # itself; some routers answer only searches by multicast, and those answers belong to no known flow.
    text = (
        f"the router {router} does not answer to PCP, NAT-PMP or UPnP; if it speaks UPnP, a firewall on this "
    )
    return Complaint(Trouble.SILENT, f"{text}node drops its answers: UDP from {router} port 1900")


def not_public(wish: Wish, ip: IPAddress) -> Complaint:
    """The router opened a port, but to a network that is not the Internet."""
    text = (
        f"the router {wish.router} has the address {ip}, which is not public: another NAT stands before it, "
    )
    return Complaint(Trouble.PRIVATE, f"{text}and the port it opened is not announced")
