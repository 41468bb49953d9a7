"""What would grow with the mesh, held down: how often a link is probed when there are thousands. Pure.

In a mesh of up to SMALL members nothing here holds anything back: there all can be asked, probed and told at
once. What it costs beyond, and what it delays: docs/scale.md.
"""

from __future__ import annotations

from random import Random

from .budget import Budget

SMALL = 16  # members of a mesh that needs no restraint
AT_ONCE = 48  # links that are proved together when our address changed

PROBE_RATE = 12.0  # probes/s of links that are well: of more than 48, each is probed less often
REPEAT_RATE = 8.0  # unanswered probes repeated in a second; together 20, whatever the mesh
PATIENCE = 2.0  # times the usual time of an answer; a probe that takes longer is repeated
FEWEST_MISSES = 4  # are silence where so many links are in doubt that each is repeated rarely
ROUND_RATE = 2.0  # rounds of shots begun in a second after a pause, if more than AT_ONCE wait
VAIN_RATE = 0.5  # such rounds in a second where NATs explain that shots were in vain; others ask for as many
TURN_WITHIN = 10.0  # s in which a member asks again whether it is its turn

NEWS_SPACING, NEWS_BURST = 0.1, 16  # s between news; what waits leaves together
COMPARE_SPACING, COMPARE_BURST = 0.2, 150  # s between comparisons of books: each may cost the whole book
INTRODUCE_SPACING, INTRODUCE_BURST = 0.005, 2500  # s between introductions; 48 members ask for 2,256 at once
SEEK_SPACING, SEEK_BURST = 0.25, 32  # s between questions for one member
KEYS_ASKED = 48  # members asked for when a link comes up: others know the rest,
KEYS_ASKED_LATER = 4  # and when more than LINKS_FIRST are up, for each of those asks, too
LINKS_FIRST = 6

LOOK_SHARE = 300.0  # members for which the device is read once a second: a read takes 10 µs for each


def claim(budget: Budget, now: float) -> float:
    """Take one that may be used now or later; when."""
    due = budget.due(now)
    budget.allows(due)
    return due


def probe_interval(least: float, up: int, rng: Random) -> float:
    """Seconds from an answered probe to the next. Drawn anew each time, so that links do not stay in step."""
    return max(least, up / PROBE_RATE) * rng.uniform(0.5, 1.5) if up > SMALL else least


def repeat_interval(least: float, usual: float, doubted: int, members: int) -> float:
    """Seconds until an unanswered probe is repeated, where answers take `usual` seconds.

    Repeated sooner than answers can come, probes on a machine that has too much to do give it still more.
    """
    least = max(least, PATIENCE * usual)
    return max(least, doubted / REPEAT_RATE) if members > SMALL else least


def enough_misses(patience: int, doubted: int, members: int) -> int:
    """How many misses are silence: with many in doubt each is asked rarely, and it is hardly chance."""
    if members <= SMALL or doubted <= REPEAT_RATE:
        return patience
    return min(patience, max(FEWEST_MISSES, int(20 * REPEAT_RATE / doubted)))


def keys_asked(up: int, members: int) -> int:
    """How many missing members one is asked for with whom a link came up."""
    return KEYS_ASKED if members <= SMALL or up <= LINKS_FIRST else KEYS_ASKED_LATER


def look_spacing(members: int, least: float) -> float:
    """Seconds from one read of the device to the next: the more peers it has, the more a read costs."""
    return max(least, members / LOOK_SHARE)
