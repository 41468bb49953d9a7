"""Keeps the interface in line with the members, and looks closely only at what changed. Pure."""

from __future__ import annotations

from collections.abc import Collection

from .admission import Routing, admit
from .common import Common
from .effects import Admit, Level, Look, Save
from .values import Device, IPNetwork, Key


class Gate:
    """`made` are the peers this agent put on the interface; `routing` says who owns which address there."""

    def __init__(self, common: Common, made: Collection[Key]) -> None:
        self.made = set(made)
        self.routing = Routing(())
        self._links, self._out = common.links, common.out
        self._schedule, self._say = common.schedule, common.say
        self._held: tuple[list[Key], list[tuple[IPNetwork, ...]], list[int]] = [], [], []
        self._fits = False  # what the device held was what the members call for

    def members_changed(self) -> None:
        self._fits = False

    def look(self, device: Device, now: float) -> None:
        """The device was just read: bring it in line. Of thousands of peers, hardly ever one has changed."""
        peers = device.peers.values()
        held = list(device.peers), [each.allowed_ips for each in peers], [each.keepalive for each in peers]
        if self._fits and held == self._held:
            return
        self._held = held
        former = {key: link.former for key, link in self._links.items() if link.former}
        plan = admit(device, [link.member for link in self._links.values()], self.made, former)
        self._fits = not plan.effects
        self._out.extend(plan.effects)
        if plan.effects:
            self._out.append(Look())
        if plan.made - self.made or plan.gone:
            self.made = (self.made | plan.made) - plan.gone
            self._out.append(Save())
        for key, link in self._links.items():
            why = plan.blocked.get(key)
            if why and why != link.blocked:
                self._say(Level.ERROR, link, f"is left out: {why}")
            elif link.blocked and not why:
                self._schedule(link, now)
            link.blocked = why
        admitted = [peer for effect in plan.effects if isinstance(effect, Admit) for peer in effect.peers]
        self.routing = Routing([*device.peers.values(), *admitted])
