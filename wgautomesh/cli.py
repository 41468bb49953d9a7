"""The command line: run the agent, check a configuration, or ask agents that run."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .arguments import (
    AGENT,
    CHECK,
    COMMANDS,
    DNS_RECORD,
    EXPLAIN,
    GRAPH,
    STATUS,
    WRONG_USAGE,
    parser,
    without_file,
)
from .config import CommandLine, Config, load
from .lock import Held, hold
from .log import LEVELS, one_line, set_up
from .reading import Mistake

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status as `arguments.EXIT` says; 2 is a wrong command line."""
    given = list(sys.argv[1:] if argv is None else argv)
    command = given.pop(0) if given and given[0] in COMMANDS else AGENT
    options = parser(command).parse_args(given)
    if command == AGENT:
        return _agent(options)
    if command == CHECK:
        return check(options.config)
    if command == DNS_RECORD:
        return dns_record(options)
    from . import console  # noqa: PLC0415 - only for who asks; the agent needs nothing of it

    return {STATUS: console.status, EXPLAIN: console.explain, GRAPH: console.graph}[command](options)


def _agent(options: argparse.Namespace) -> int:
    level = options.log_level or os.environ.get("WGAUTOMESH_LOG") or "info"
    if level not in LEVELS:
        print(f'wgautomesh: log level "{level}" is not one of {", ".join(LEVELS)}', file=sys.stderr)
        return WRONG_USAGE
    set_up(level, options.log_format)
    return serve(without_file(options) or options.config)


def check(path: Path) -> int:
    """Print every mistake on a line of its own. Touches nothing."""
    config, mistakes = load(path, running=False)
    for mistake in mistakes:
        _print(_line(path, mistake))
    for note in config.notes if config else ():
        _print(f"{path}: {note}")
    if mistakes:
        _print(f"{path}: {len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}")
        return 1
    assert config is not None  # noqa: S101 - without a mistake there is a configuration
    count = len(config.members)
    _print(f"{path}: ok: interface {config.interface}, {count} peer{'' if count == 1 else 's'}")
    return 0


def dns_record(options: argparse.Namespace) -> int:
    """Print this node as records for a zone file."""
    from .dnsmesh.command import describe  # noqa: PLC0415 - the agent needs nothing of it

    try:
        lines = describe(options)
    except (OSError, ValueError) as error:
        print(f"wgautomesh: {error.strerror if isinstance(error, OSError) else error}", file=sys.stderr)
        return 1
    for line in lines:
        _print(line)
    return 0


def serve(path: Path | CommandLine) -> int:
    """Run the agent until it is told to stop."""
    config, mistakes = load(path, running=True)
    for mistake in mistakes:
        log.error("%s", _line(path, mistake))
    if config is None:
        return 1
    if not config.secrets:
        log.warning("no gossip_secret: gossip is protected by the tunnel alone")
    try:
        with hold(config.interface):
            return _run(config)
    except Held as holder:
        log.error("%s already has an agent: %s", config.interface, holder)
        return 1


def _run(config: Config) -> int:
    from .agent import run  # noqa: PLC0415 - `check` and `--help` need not wait for its imports

    try:
        run(config)
    except PermissionError as error:
        log.error("%s", error.strerror or error)
        return 1
    return 0


def _print(text: str) -> None:
    """One line, also on a terminal that cannot show every letter."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"  # None: stdout is closed
    try:
        print(one_line(text).encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except OSError as error:  # a full disk, or a reader that went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python would try again at exit, and complain
        raise SystemExit(f"wgautomesh: cannot write: {error.strerror}") from None


def _line(path: Path | CommandLine, mistake: Mistake) -> str:
    return f"{path}: {mistake}" if mistake.where else f"{path} {mistake}"
