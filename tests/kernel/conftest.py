"""Fixtures of the kernel lane. Those of the lab come as a plugin: the runner loads `tests.lab.conftest`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol

import pytest

from ..lab import lab
from ..lab.conftest import FIGURES
from ..lab.lab import Lab
from ..lab.wg import has_kernel_module

DAY = 86_400  # s
POLL = 0.25  # s between two looks at what is waited for: a look costs some 50 ms of an emulated processor


class Printed(Protocol):
    def __call__(self, what: str, seconds: float) -> None:
        """Note a time for the summary. Not bounded: emulated, everything is several times slower."""


class SetClock(Protocol):
    def __call__(self, of: Lab, days: int) -> None:
        """Jump the wall clock by whole days; the lab goes on finding what its agents say after that."""


def pytest_sessionstart() -> None:
    if not has_kernel_module():
        pytest.exit("this kernel has no WireGuard: run `python -m tests.kernel`", returncode=1)


@pytest.fixture(autouse=True)
def look_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "POLL", POLL)


@pytest.fixture
def printed(request: pytest.FixtureRequest) -> Printed:
    def note(what: str, seconds: float) -> None:
        request.config.stash[FIGURES].lines.append(f"{seconds:8.2f} s {what}  ({request.node.name})")

    return note


@pytest.fixture
def set_clock() -> Iterator[SetClock]:
    """Jumps the wall clock, and puts it right after the test."""
    jumped = 0

    def jump(of: Lab, days: int) -> None:
        nonlocal jumped
        jumped += days * DAY
        time.clock_settime(time.CLOCK_REALTIME, time.time() + days * DAY)
        for node in of.nodes.values():
            node.started += days * DAY

    yield jump
    time.clock_settime(time.CLOCK_REALTIME, time.time() - jumped)
