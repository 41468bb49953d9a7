"""Where members come from: the configuration's [[peers]], and the DNS if the mesh is described there."""

from __future__ import annotations

import selectors
from collections.abc import Callable, Sequence
from random import Random, SystemRandom

from .config import Config
from .dnsmesh.kept import Kept
from .dnsmesh.source import Source
from .values import Device, IPInterface, Member


class Membership:
    """All sources as one list. `changed` is called, with the time, when one has spoken."""

    def __init__(self, selector: selectors.BaseSelector, changed: Callable[[float], None]) -> None:
        self._selector = selector
        self._changed = changed
        self._file: tuple[Member, ...] = ()
        self._source: Source | None = None
        self._kept: Kept | None = None
        self._mine: Sequence[IPInterface] = ()

    @property
    def needs_addresses(self) -> bool:
        """Whether the list depends on the addresses of our own interface."""
        return self._source is not None

    def configure(self, config: Config, kept: Kept | None, at: float) -> None:
        """Follow this configuration from now on. `kept` is the DNS's last good answer in an earlier run."""
        self._file = config.members
        self._kept = kept
        if self._source and self._source.settings == config.dns:
            return
        if self._source:
            self._kept = self._source.keep()
            self._selector.unregister(self._source)
            self._source.close()
            self._source = None
        if config.dns:
            # Only jitter comes from it.
            rng = Random(SystemRandom().getrandbits(64))  # noqa: S311
            self._source = Source(config.dns, self._kept, rng=rng, now=at)
            self._selector.register(self._source, selectors.EVENT_READ, self._hear)

    def next_due(self) -> float:
        return self._source.next_due() if self._source else float("inf")

    def turn(self, at: float) -> None:
        if self._source:
            self._source.turn(at)

    def network_changed(self, at: float) -> None:
        if self._source:
            self._source.hurry(at)

    def members(self, device: Device, mine: Sequence[IPInterface]) -> tuple[Member, ...]:
        """Who belongs. `mine` are the addresses of our interface, none while it is away."""
        self._mine = mine or self._mine
        if self._source is None or device.key is None:
            return self._file
        self._source.check_self(device, self._mine)
        return self._source.members(self._file, device.key, self._mine)

    def keep(self) -> Kept | None:
        """For the next start; also while the DNS is not asked, for it may be again."""
        return self._source.keep() if self._source else self._kept

    def _hear(self, at: float) -> None:
        if self._source:
            self._source.hear(at)
            self._changed(at)
