"""The agent with its reaction to events taken out: it acts only when a timer says so, as tick-based tools do.

For the test that shows that the lab's bounds measure what they say.
"""

from __future__ import annotations

import sys

from wgautomesh.cli import main
from wgautomesh.link import Link
from wgautomesh.mesh import Mesh
from wgautomesh.messages import Message
from wgautomesh.pursuit import Pursuit


def wait_for_the_next_look(mesh: Mesh, link: Link, message: Message | None, now: float) -> None:
    mesh._waiting.append((link.member.key, message))


def take_no_notice(pursuit: Pursuit, *news: object, **details: object) -> None:
    pass


if __name__ == "__main__":
    Mesh._handle_or_wait = wait_for_the_next_look  # type: ignore[method-assign]
    Pursuit.news = take_no_notice  # type: ignore[method-assign]
    sys.exit(main())
