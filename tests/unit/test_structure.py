"""The shape of the code: the core does no I/O, and the state machine is what its table says."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import wgautomesh
from wgautomesh.link import TRANSITIONS, Event, State

PACKAGE = Path(wgautomesh.__file__).parent
CORES = ("mesh", "portmap.lease", "dnsmesh.roster", "dnsmesh.members", "dnsmesh.records", "routes.plan")
FORBIDDEN = {
    "socket",
    "selectors",
    "time",
    "threading",
    "subprocess",
    "os",
    "select",
    "asyncio",
    "signal",
    "pyroute2",
}
FORBIDDEN |= {"logging", "secrets", "fcntl", "pathlib", "io", "tempfile", "nacl"}


def path_of(module: str) -> Path:
    path = PACKAGE / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def source(module: str) -> str:
    return path_of(module).read_text()


def imports(module: str) -> set[str]:
    """Names a module of the package imports; those of the package itself begin with a dot."""
    found = set()
    folder = module.split(".") if path_of(module).name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source(module))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = folder[: len(folder) + 1 - node.level]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {"." + ".".join([*base, name]) for name in names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def reach(module: str) -> dict[str, set[str]]:
    """All modules of the package that a module needs, with what each imports from outside."""
    seen: dict[str, set[str]] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in seen:
            names = imports(name)
            seen[name] = {each for each in names if not each.startswith(".")}
            todo += [each[1:] for each in names if each.startswith(".")]
    return seen


@pytest.mark.parametrize("pure", [*CORES, "observer", "report", "screen"])
def test_the_core_imports_nothing_that_does_io(pure: str) -> None:
    for module, outside in reach(pure).items():
        assert not outside & FORBIDDEN, f"{module}.py imports {outside & FORBIDDEN}"


def test_the_agent_carries_nothing_of_those_who_ask_it() -> None:
    script = "import sys, wgautomesh.cli, wgautomesh.agent; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "wgautomesh.control" in loaded.split()
    assert not {f"wgautomesh.{name}" for name in ("client", "console", "screen")} & set(loaded.split())


def test_the_walk_would_notice() -> None:
    assert imports("agent") & FORBIDDEN
    assert reach("portmap.ports").keys() >= {"portmap.lease", "values"}


def test_the_core_uses_no_global_randomness() -> None:
    for module in {module for core in CORES for module in reach(core)}:
        tree = ast.parse(source(module))
        names = {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
        }
        plain = {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        assert "random" not in plain and not names & {"randrange", "choice", "sample", "SystemRandom"}


def test_every_state_can_be_reached_and_left() -> None:
    assert set(TRANSITIONS.values()) == set(State)
    assert {before for before, _ in TRANSITIONS} == set(State)
    assert {event for _, event in TRANSITIONS} == set(Event)


def test_no_module_is_too_long_to_hold() -> None:
    long = {
        path.name: count
        for path in PACKAGE.rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 450
    }
    assert not long
