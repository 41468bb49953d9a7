"""The command line's grammar, one parser a command. Help, errors and the manual page come from these."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import __version__
from .config import DEFAULT_PATH, CommandLine
from .log import FORMS, LEVELS, TEXT

AGENT = ""  # the command without a name
CHECK, STATUS, EXPLAIN, GRAPH, DNS_RECORD = "check", "status", "explain", "graph", "dns-record"
COMMANDS = {
    AGENT: "Turns an existing WireGuard interface into a full mesh.",
    CHECK: "Report every mistake in a configuration, and touch nothing.",
    STATUS: "Show how the agents on this machine stand with their peers.",
    EXPLAIN: "Tell why a peer is connected as it is, or why it is not.",
    GRAPH: "Draw the whole mesh, as its members see it.",
    DNS_RECORD: "Print the DNS records that make this node a member, as lines of a zone file.",
}
EXIT = {
    AGENT: {0: "stopped as asked", 1: "a mistake in the configuration, missing rights, or one runs already"},
    CHECK: {0: "no mistake", 1: "mistakes"},
    STATUS: {0: "all peers are connected", 3: "some are not", 4: "no agent answers"},
    EXPLAIN: {0: "done", 1: "no such peer", 4: "no agent answers"},
    GRAPH: {0: "done", 1: "more than one agent, or a file that cannot be written", 4: "no agent answers"},
    DNS_RECORD: {0: "done", 1: "no such interface, missing rights, or a name that cannot be one"},
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
    to.add_argument("--log-format", choices=FORMS, default=TEXT, help="lines to read, or JSON; default text")
    to.add_argument("--version", action="version", version=f"wgautomesh {__version__}")
    dns = to.add_argument_group("without CONFIG, for a mesh described in DNS")
    dns.add_argument("--dns-mesh", metavar="NAME", help="whose TXT records name the members")
    dns.add_argument("--interface", metavar="NAME", help="the WireGuard interface")
    dns.add_argument("--resolver", metavar="IP[:PORT]", help="instead of those in /etc/resolv.conf")
    dns.add_argument("--gossip-secret-file", metavar="FILE", help="also switches LAN discovery on")
    dns.add_argument("--persist-file", metavar="FILE", help="where what was learned is kept")
    to.set_defaults(parser=to)


def without_file(options: argparse.Namespace) -> CommandLine | None:
    """What these options of the agent configure, None if a file does. Ends the program if they do not fit."""
    keys = ("dns_mesh", "interface", "resolver", "gossip_secret_file", "persist_file")
    given = {key: value for key in keys if (value := getattr(options, key)) is not None}
    if not given:
        return None
    if options.config != DEFAULT_PATH:
        options.parser.error("give either CONFIG or the options that take its place")
    if "dns_mesh" not in given or "interface" not in given:
        options.parser.error("--dns-mesh and --interface are needed together")
    return CommandLine({**given, "lan_discovery": "gossip_secret_file" in given})


def _config(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "config", metavar="CONFIG", nargs="?", type=Path, default=DEFAULT_PATH, help=f"default {DEFAULT_PATH}"
    )


def _dns_record(to: argparse.ArgumentParser) -> None:
    _config(to)
    to.add_argument("--name", metavar="HOST", required=True, help="this host's name in DNS")
    to.add_argument("--dns-mesh", metavar="NAME", help="instead of the one in CONFIG")
    to.add_argument("--interface", metavar="NAME", help="instead of the one in CONFIG")


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


_ADD = {
    AGENT: _agent,
    CHECK: _config,
    STATUS: _status,
    EXPLAIN: _explain,
    GRAPH: _graph,
    DNS_RECORD: _dns_record,
}
