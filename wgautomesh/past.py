"""What is worth keeping across a restart. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from .link import Link
from .values import Endpoint, Key


@dataclass(frozen=True, slots=True)
class Past:
    """What an earlier run left: endpoints of members, best first, and the peers it made on the interface."""

    endpoints: Mapping[Key, Sequence[Endpoint]] = field(default_factory=dict)
    made: frozenset[Key] = frozenset()


def remember(links: Mapping[Key, Link], made: Collection[Key]) -> Past:
    endpoints = {
        key: tuple(each.endpoint for each in link.candidates.worth_keeping()) for key, link in links.items()
    }
    return Past({key: kept for key, kept in endpoints.items() if kept}, frozenset(made))
