"""The command line's grammar, one parser a command. Help, errors and the manual page come from these."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import __version__
from .config import DEFAULT_PATH
from .log import LEVELS

AGENT = ""  # the command without a name
CHECK, STATUS, EXPLAIN, GRAPH = "check", "status", "explain", "graph"
COMMANDS = {
    AGENT: "Turns an existing WireGuard interface into a full mesh.",
    CHECK: "Report every mistake in a configuration, and touch nothing.",
    STATUS: "Show how the agents on this machine stand with their peers.",
    EXPLAIN: "Tell why a peer is connected as it is, or why it is not.",
    GRAPH: "Draw the whole mesh, as its members see it.",
}
EXIT = {
    AGENT: {0: "stopped as asked", 1: "a mistake in the configuration, or missing rights"},
    CHECK: {0: "no mistake", 1: "mistakes"},
    STATUS: {0: "all peers are connected", 3: "some are not", 4: "no agent answers"},
    EXPLAIN: {0: "done", 1: "no such peer", 4: "no agent answers"},
    GRAPH: {0: "done", 1: "more than one agent, or a file that cannot be written", 4: "no agent answers"},
}
WRONG_USAGE = 2  # argparse's own exit code


def parser(command: str) -> argparse.ArgumentParser:
    """The parser of what follows the command."""
    made = argparse.ArgumentParser(
        f"wgautomesh {command}".strip(), description=COMMANDS[command], epilog=_epilog(command)
    )
    _ADD[command](made)
    return made


def _epilog(command: str) -> str:
    codes = "; ".join(f"{code} {meaning}" for code, meaning in EXIT[command].items())
    text = f"Exit code: {codes}."
    if command == AGENT:
        others = ", ".join(name for name in COMMANDS if name)
        text += f" Commands: {others}; each has --help. A file of such a name is written ./{CHECK}."
    return text


def _agent(to: argparse.ArgumentParser) -> None:
    _config(to)
    to.add_argument(
        "--log-level", metavar="LEVEL", help=f"{', '.join(LEVELS)}; default $WGAUTOMESH_LOG or info"
    )
    to.add_argument("--version", action="version", version=f"wgautomesh {__version__}")


def _config(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "config", metavar="CONFIG", nargs="?", type=Path, default=DEFAULT_PATH, help=f"default {DEFAULT_PATH}"
    )


def _status(to: argparse.ArgumentParser) -> None:
    _asking(to)
    to.add_argument("--watch", action="store_true", help="refresh in place every two seconds, until Ctrl-C")
    to.add_argument(
        "--json", action="store_true", help="for scripts: a JSON document for each agent, one a line"
    )


def _explain(to: argparse.ArgumentParser) -> None:
    to.add_argument("peer", metavar="PEER", help="a name, a mesh address, or the beginning of a key")
    _asking(to)
    to.add_argument("--json", action="store_true", help="the answer as the agent gives it, for scripts")


def _graph(to: argparse.ArgumentParser) -> None:
    _asking(to)
    to.add_argument("--format", choices=("svg", "json"), default="svg", help="default svg")
    to.add_argument("--output", metavar="FILE", type=Path, help="instead of standard output")


def _asking(to: argparse.ArgumentParser) -> None:
    to.add_argument("--interface", metavar="NAME", help="only the agent of this interface")
    to.add_argument(
        "--socket", metavar="PATH", type=Path, help="the control socket of an agent, if elsewhere"
    )


_ADD = {AGENT: _agent, CHECK: _config, STATUS: _status, EXPLAIN: _explain, GRAPH: _graph}
