"""The agent with its reaction to events taken out: it acts only when a timer says so, as tick-based tools do.

For the test that shows that the lab's bounds measure what they say.
"""

from __future__ import annotations

import sys

from wgautomesh.cli import main
from wgautomesh.dialogue import Dialogue
from wgautomesh.link import Link
from wgautomesh.messages import Message
from wgautomesh.pursuit import Pursuit


def wait_for_the_next_look(dialogue: Dialogue, link: Link, message: Message | None, now: float) -> None:
    dialogue._waiting.add(link.member.key, message)


def take_no_notice(pursuit: Pursuit, *news: object, **details: object) -> None:
    pass


if __name__ == "__main__":
    setattr(Dialogue, "receive", wait_for_the_next_look)  # noqa: B010 - mypy knows better than to allow it
    setattr(Pursuit, "news", take_no_notice)  # noqa: B010
    sys.exit(main())
