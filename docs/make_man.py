"""Writes the manual page from the argument parsers: `python docs/make_man.py > docs/wgautomesh.1`."""

from __future__ import annotations

import argparse
import re
import sys

from wgautomesh import __version__
from wgautomesh.arguments import AGENT, COMMANDS, EXIT, WRONG_USAGE, parser

FILES = (
    ("/etc/wgautomesh.toml", "the configuration, unless another is named"),
    ("/run/wgautomesh/INTERFACE.sock", "where a running agent is asked"),
)
SIGNALS = (("SIGHUP", "read the configuration again"), ("SIGTERM", "stop; peers and sessions stay"))


def page() -> str:
    lines = [
        f'.TH WGAUTOMESH 1 "" "wgautomesh {__version__}" "User Commands"',
        ".SH NAME",
        f"wgautomesh \\- {_text(COMMANDS[AGENT].rstrip('.').lower())}",
        ".SH SYNOPSIS",
    ]
    for command in COMMANDS:
        usage = re.sub(r"\s+", " ", parser(command).format_usage().removeprefix("usage: "))
        lines += [_text(usage.replace(" [-h]", "")), ".br"]
    for command, description in COMMANDS.items():
        lines += [f".SH {(command or 'THE AGENT').upper()}", _text(description)]
        for action in parser(command)._actions:
            if not isinstance(action, argparse._HelpAction):
                lines += _entry(_form(action), action.help or "")
    lines.append(".SH EXIT STATUS")
    for command, codes in EXIT.items():
        meanings = "; ".join(f"{code} {meaning}" for code, meaning in codes.items())
        lines += _entry(f"wgautomesh {command}".strip(), meanings)
    lines += _entry("all", f"{WRONG_USAGE} a wrong command line")
    for title, entries in (("SIGNALS", SIGNALS), ("FILES", FILES)):
        lines.append(f".SH {title}")
        for name, meaning in entries:
            lines += _entry(name, meaning)
    return "\n".join(lines) + "\n"


def _form(action: argparse.Action) -> str:
    value = action.metavar or "|".join(map(str, action.choices or ()))
    if not action.option_strings:
        return str(action.metavar)
    return " ".join([", ".join(action.option_strings), *([str(value)] if value else [])])


def _entry(term: str, meaning: str) -> list[str]:
    return [".TP", f".B {_text(term)}", _text(meaning)]


def _text(plain: str) -> str:
    return plain.replace("\\", "\\e").replace("-", "\\-").strip()


if __name__ == "__main__":
    sys.stdout.write(page())
