"""The commands that ask running agents and show what they say. Never imported by the agent."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable
from typing import Any

from . import screen
from .client import FOLDER, NoAgent, ask, sockets
from .drawing import draw
from .log import one_line
from .screen import Style

WATCH_EVERY = 2.0  # s
NOT_CONNECTED, NO_AGENT = 3, 4  # exit codes
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # another screen without a cursor, and back
_HOME, _CLEAR_LINE, _CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"


def status(options: argparse.Namespace) -> int:
    if not options.watch:
        code, text = _status(options)
        _write(text)
        return code
    live = sys.stdout.isatty() and not options.json
    code = NO_AGENT
    if live:
        _write(_ENTER)
    try:
        while True:
            code, text = _status(options, rows=shutil.get_terminal_size().lines if live else None)
            _write(_in_place(text) if live else text)
            time.sleep(WATCH_EVERY)
    except KeyboardInterrupt:
        return code
    finally:
        if live:
            _write(_LEAVE)


def explain(options: argparse.Namespace) -> int:
    answers = _ask(options, {"ask": "explain", "peer": options.peer})
    found = next((each for each in answers if each["kind"] != "error"), None)
    if found is None:
        for each in answers:
            _complain(each["error"])
        return 1 if answers else NO_AGENT
    if options.json:
        _write(json.dumps(found) + "\n")
    else:
        _write("\n".join(screen.explain(found, _style(), _times(found["events"]))) + "\n")
    return 0


def graph(options: argparse.Namespace) -> int:
    answers = _ask(options, {"ask": "graph"})
    if len(answers) > 1:
        names = ", ".join(each["interface"] for each in answers)
        _complain(f"several agents run here; name one with --interface: {names}")
        return 1
    if not answers:
        return NO_AGENT
    text = json.dumps(answers[0]) + "\n" if options.format == "json" else draw(answers[0])
    if options.output is None:
        _write(text)
        return 0
    try:
        options.output.write_text(text, encoding="utf-8")
    except OSError as error:
        _complain(f"cannot write {options.output}: {error.strerror}")
        return 1
    return 0


def _status(options: argparse.Namespace, rows: int | None = None) -> tuple[int, str]:
    """Exit code and text of one look at all agents asked for."""
    answers = _ask(options, {"ask": "status"})
    if not answers:
        return NO_AGENT, ""
    if options.json:
        text = "".join(json.dumps(each) + "\n" for each in answers)
    else:
        style = _style()
        lines = [line for each in answers for line in ["", *screen.status(each, style)]][1:]
        if rows is not None and len(lines) > rows - 1:
            more = len(lines) - rows + 2
            lines = [*lines[: rows - 2], style.paint(f"{more} more lines: the window is too low", "dim")]
        text = "\n".join(lines) + "\n"
    whole = all(each["key"] and each["peers_connected"] == each["peers_total"] for each in answers)
    return (0 if whole else NOT_CONNECTED), text


def _ask(options: argparse.Namespace, request: dict[str, object]) -> list[dict[str, Any]]:
    """The answers of all agents meant. What went wrong, and that there is none, is said on stderr."""
    answers, complaints = [], 0
    for path in (options.socket,) if options.socket else sockets(options.interface):
        try:
            answers.append(ask(path, request))
        except NoAgent as error:
            if options.socket or not error.stopped:
                _complain(str(error))
                complaints += 1
    if not answers and not complaints:
        of = f" of {options.interface}" if options.interface else ""
        _complain(f"no agent{of} runs here: no socket in {FOLDER} answers")
    return answers


def _complain(text: str) -> None:
    print(f"wgautomesh: {one_line(text)}", file=sys.stderr)


def _style() -> Style:
    live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    width = shutil.get_terminal_size().columns
    return Style(width, live and not os.environ.get("NO_COLOR"), encoding.startswith("utf"))


def _times(events: Iterable[dict[str, Any]]) -> dict[float, str]:
    """Ages of events as local time of day, with the date if that was another day."""
    now, today = time.time(), time.strftime("%d %b")
    found = {}
    for age in {age for each in events for age in (each["age"], each["first"])}:
        at = time.localtime(now - age)
        day = time.strftime("%d %b", at)
        found[age] = time.strftime("%H:%M:%S", at) if day == today else day + time.strftime(" %H:%M", at)
    return found


def _in_place(text: str) -> str:
    lines = text.rstrip("\n").split("\n")
    return _HOME + "\n".join(line + _CLEAR_LINE for line in lines) + "\n" + _CLEAR_REST


def _write(text: str) -> None:
    """To standard output, also where it cannot show every letter."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), end="", flush=True)
    except OSError as error:  # a full disk, or a reader that went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python would try again at exit, and complain
        raise SystemExit(f"wgautomesh: cannot write: {error.strerror}") from None
