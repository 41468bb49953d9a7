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
    if Trouble.PRIVATE in found:
        known = max((why for each, why in troubles.values() if each is Trouble.PRIVATE), key=len)
        return Complaint(Trouble.PRIVATE, f"the router {router} opens no port: {known}{_SECOND_NAT}")
    if Trouble.REFUSED in found:
        whys = [f"{way.value}: {why}" for way, (_, why) in troubles.items() if why]
        return Complaint(Trouble.REFUSED, f"the router {router} opens no port ({'; '.join(whys)})")
    if router.version == 6:
        return Complaint(Trouble.SILENT, f"the router {router} does not answer to PCP")
    # Answers to PCP, NAT-PMP and a search sent to the router itself pass every firewall. Some routers answer
    # only a search by multicast, and from another port: that belongs to no flow a firewall knows.
    text = f"the router {router} does not answer to PCP, NAT-PMP or UPnP. If it speaks UPnP, a firewall on "
    return Complaint(Trouble.SILENT, f"{text}this node drops its answers: UDP from {router}")


def not_public(wish: Wish, ip: IPAddress) -> Complaint:
    """The router opened a port, but to a network that is not the Internet."""
    text = f"the port that the router {wish.router} opened is not announced: its address {ip} is not public"
    return Complaint(Trouble.PRIVATE, f"{text}{_SECOND_NAT}")


_SECOND_NAT = "; does another NAT stand before it?"
