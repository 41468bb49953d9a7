"""The command line: run the agent, or check a configuration."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__
from .config import DEFAULT_PATH, Config, load
from .lock import Held, hold
from .log import LEVELS, one_line, set_up
from .reading import Mistake

log = logging.getLogger(__name__)

CHECK = "check"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 a mistake in the configuration or missing rights, 2 a wrong command line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == [CHECK]:
        parser = argparse.ArgumentParser(
            "wgautomesh check", description="Report every mistake in a configuration."
        )
        _add_config(parser)
        return check(parser.parse_args(arguments[1:]).config)
    options = _parser().parse_args(arguments)
    level = options.log_level or os.environ.get("WGAUTOMESH_LOG") or "info"
    if level not in LEVELS:
        print(f'wgautomesh: log level "{level}" is not one of {", ".join(LEVELS)}', file=sys.stderr)
        return 2
    set_up(level)
    return serve(options.config)


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


def serve(path: Path) -> int:
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


def _line(path: Path, mistake: Mistake) -> str:
    return f"{path}: {mistake}" if mistake.where else f"{path} {mistake}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "wgautomesh",
        description="Turns an existing WireGuard interface into a full mesh.",
        epilog="wgautomesh check [CONFIG] reports every mistake in a configuration and touches nothing.",
    )
    _add_config(parser)
    parser.add_argument(
        "--log-level", metavar="LEVEL", help=f"{', '.join(LEVELS)}; default $WGAUTOMESH_LOG or info"
    )
    parser.add_argument("--version", action="version", version=f"wgautomesh {__version__}")
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", metavar="CONFIG", nargs="?", type=Path, default=DEFAULT_PATH, help=f"default {DEFAULT_PATH}"
    )
