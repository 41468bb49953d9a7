"""What the parts of the core share. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from .effects import Effect, Level, Say
from .link import Link, Roll
from .standpoint import Standpoint
from .timers import Timers
from .values import Key


@dataclass(frozen=True, slots=True)
class Common:
    """The links and how we can be reached; chance; alarms; and the effects that are to go out."""

    own: Key
    rng: Random
    links: dict[Key, Link] = field(default_factory=dict)
    roll: Roll = field(default_factory=Roll)
    standpoint: Standpoint = field(default_factory=Standpoint)
    timers: Timers = field(default_factory=Timers)
    out: list[Effect] = field(default_factory=list)

    def schedule(self, link: Link, due: float) -> None:
        """Have the link looked after at `due` (s), and not before."""
        self.timers.set(link.member.key, due)

    def say(self, level: Level, link: Link, text: str) -> None:
        """Tell the operator something about the member."""
        self.out.append(Say(level, f"{link.member} {text}", link.member.key))
