"""Fixtures of the kernel lane. Those of the lab come as a plugin: the runner loads `tests.lab.conftest`.

The agent's start alone takes several seconds on an emulated processor, so most tests share one mesh.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pytest

from ..lab import evidence, lab
from ..lab.conftest import EVIDENCE, FAILURE, FIGURES, note
from ..lab.lab import Lab
from ..lab.node import Node
from ..lab.topology import Host, Router, Topology
from ..lab.wg import has_kernel_module

POLL = 0.25  # s between two looks at what is waited for: a look costs up to 0.1 s of an emulated processor
WAIT = 60.0  # s after which what was waited for has failed

SO_TIMESTAMP = 29  # asm-generic/socket.h; the socket module has no name for it

NOBODY = 65534
NET_ADMIN = 1 << 12  # CAP_NET_ADMIN, linux/capability.h
ONLY_NET_ADMIN = (
    *("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--no-new-privs"),
    *("--inh-caps", "-all,+net_admin", "--ambient-caps", "-all,+net_admin"),
    *("--bounding-set", "-all,+net_admin"),
)


# With one port for bob and carol, a new address of their router may keep one of them from alice.
MESH = Topology(
    (
        Host("hub"),
        Router("north", (Host("alice"),)),
        Router("south", (Host("bob"), Host("carol", port=51821))),
    )
)


class Printed(Protocol):
    def __call__(self, what: str, value: float, unit: str = "s") -> None:
        """Note a figure for the summary. Not bounded: emulated, everything is several times slower."""


@dataclass(slots=True)
class Shared:
    lab: Lab | None = None

    def close(self) -> None:
        if self.lab:
            self.lab.close()
            self.lab = None


SHARED = pytest.StashKey[Shared]()


def pytest_configure(config: pytest.Config) -> None:
    shared = config.stash[SHARED] = Shared()
    config.add_cleanup(shared.close)


def pytest_sessionstart() -> None:
    if not has_kernel_module():
        pytest.exit("this kernel has no WireGuard: run `python -m tests.kernel`", returncode=1)


@pytest.fixture(scope="session", autouse=True)
def timestamps() -> Iterator[None]:
    """Have the kernel take the time of every packet throughout, as it does for as long as somebody pings.

    Else each ping's begin and end patches the code that all packets run through (netstamp_needed_key,
    net/core/dev.c). Two of some fifteen runs hung; in the one looked into, both emulated processors ran into
    the patch's breakpoint for ever, though the kernel had long taken it away.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMP, 1)
        yield


@pytest.fixture(autouse=True)
def look_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "POLL", POLL)


@pytest.fixture
def printed(request: pytest.FixtureRequest) -> Printed:
    def show(what: str, value: float, unit: str = "s") -> None:
        note(request.node, FIGURES, f"{value:8.2f} {unit} {what}  ({request.node.name})")

    return show


@pytest.fixture
def mesh(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A hub, and alice and bob behind NATs of their own, with carol on bob's LAN, connected.

    All agents are unprivileged but for CAP_NET_ADMIN.

    Every test that asks gets the same, until one fails or leaves an agent stopped.
    """
    shared = request.config.stash[SHARED]
    if shared.lab is None:
        shared.lab = Lab(MESH).__enter__()
        _start_unprivileged(shared.lab)
        seconds = shared.lab.until_meshed(within=WAIT)
        request.getfixturevalue("printed")("four nodes, from simultaneous start", seconds)
    shared.lab.until_meshed(within=WAIT)
    yield shared.lab
    failure = request.node.stash.get(FAILURE, None)
    if failure is not None:
        nodes = failure.nodes if isinstance(failure, lab.Expectation) else ()
        kept = evidence.keep(shared.lab, request.node.name, nodes)
        note(request.node, EVIDENCE, f"{request.node.name}\n{kept}\n")
    if failure is not None or not all(node.runs() for node in shared.lab.nodes.values()):
        shared.close()


def _start_unprivileged(of: Lab) -> None:
    of.configure()
    of.folder.chmod(0o755)
    for node in of.nodes.values():
        for path in (node.folder, node.config):
            os.chown(path, NOBODY, NOBODY)
        node.start(through=ONLY_NET_ADMIN)


def reaches(here: Node, there: Node) -> bool:
    return here.ping(there, within=0.5) is not None and there.ping(here, within=0.5) is not None


def until_reached(of: Lab, here: Node, there: Node) -> float:
    """Wait until both answer the other's pings; the s it took."""
    return of.until(
        lambda: reaches(here, there),
        within=WAIT,
        what=f"{here.name} and {there.name} answer each other's pings",
        between=(here, there),
    )
