"""Fixtures of the lab's tests: labs that clean up and leave evidence, and figures collected for the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Protocol

import pytest

from . import evidence
from .lab import Expectation, Lab
from .needs import missing
from .topology import Topology

FAILURE = pytest.StashKey[BaseException]()
FIGURES, EVIDENCE = "figures", "evidence"  # properties of a test that are shown at the end


class Measured(Protocol):
    def __call__(self, what: str, value: float, *, bound: float, unit: str = "s") -> None:
        """Note a figure for the summary, and fail if it is over its bound."""


def pytest_sessionstart() -> None:
    hindrance = missing()
    if hindrance:
        pytest.exit(f"the lab cannot run: {hindrance}", returncode=1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    if call.when == "call" and call.excinfo:
        item.stash[FAILURE] = call.excinfo.value
    return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [each for group in terminalreporter.stats.values() for each in group]
    ended = [each for each in reports if isinstance(each, pytest.TestReport) and each.when == "teardown"]
    for title in (FIGURES, EVIDENCE):
        lines = [str(value) for each in ended for name, value in each.user_properties if name == title]
        if lines:
            terminalreporter.section(title)
            terminalreporter.write("\n".join(lines) + "\n")


def note(test: pytest.Item, title: str, line: str) -> None:
    """Have this line shown at the end. It travels with the test's report, also from another process."""
    test.user_properties.append((title, line))


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
                note(request.node, EVIDENCE, f"{request.node.name}\n{kept}\n")


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measured:
    def measure(what: str, value: float, *, bound: float, unit: str = "s") -> None:
        line = f"{value:8.2f} {unit:<3} of {bound:g} {unit:<3} {what}  ({request.node.name})"
        note(request.node, FIGURES, line)
        assert value <= bound, f"{what}: {value:.2f} {unit}, bound {bound:g} {unit}"

    return measure
