"""Fixtures of the lab's tests: labs that clean up and leave evidence, and figures collected for the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

import pytest

from . import evidence
from .lab import Expectation, Lab
from .needs import missing
from .topology import Topology


@dataclass(slots=True)
class Figures:
    """What was measured, by test, in the order of measuring."""

    lines: list[str] = field(default_factory=list)


FIGURES = pytest.StashKey[Figures]()
FAILURE = pytest.StashKey[BaseException]()
EVIDENCE = pytest.StashKey[list[str]]()


class Measured(Protocol):
    def __call__(self, what: str, value: float, *, bound: float, unit: str = "s") -> None:
        """Note a figure for the summary, and fail if it is over its bound."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = Figures()
    config.stash[EVIDENCE] = []


def pytest_sessionstart() -> None:
    hindrance = missing()
    if hindrance:
        pytest.exit(f"the lab cannot run: {hindrance}", returncode=1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    if call.when == "call" and call.excinfo:
        item.stash[FAILURE] = call.excinfo.value
    return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for title, lines in (("figures", config.stash[FIGURES].lines), ("evidence", config.stash[EVIDENCE])):
        if lines:
            terminalreporter.section(title)
            terminalreporter.write("\n".join(lines) + "\n")


@pytest.fixture
def lab_of(request: pytest.FixtureRequest) -> Iterator[Callable[[Topology], Lab]]:
    """Builds labs from topologies; a failing test leaves a folder with all that was in them."""
    with ExitStack() as stack:
        labs: list[Lab] = []

        def build(topology: Topology) -> Lab:
            labs.append(stack.enter_context(Lab(topology)))
            return labs[-1]

        yield build
        failure = request.node.stash.get(FAILURE, None)
        if failure is not None:
            for lab in labs:
                nodes = failure.nodes if isinstance(failure, Expectation) else ()
                kept = evidence.keep(lab, request.node.name, nodes)
                request.config.stash[EVIDENCE].append(f"{request.node.name}\n{kept}\n")


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measured:
    def note(what: str, value: float, *, bound: float, unit: str = "s") -> None:
        line = f"{value:8.2f} {unit:<3} of {bound:g} {unit:<3} {what}  ({request.node.name})"
        request.config.stash[FIGURES].lines.append(line)
        assert value <= bound, f"{what}: {value:.2f} {unit}, bound {bound:g} {unit}"

    return note
