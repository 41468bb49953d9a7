"""Text for people: tables that line up, colours where the terminal has them, and redrawing in place."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
_COLOURS = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}


class Screen:
    """Where to print. On a terminal `redraw` replaces what it printed last; elsewhere it does nothing.

    NO_COLOR (https://no-color.org) and dumb terminals get plain text.
    """

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self.out = out
        self.live = out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._colours = self.live and not os.environ.get("NO_COLOR")
        self._drawn = 0  # lines to go up

    def paint(self, text: str, colour: str) -> str:
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self._colours else text

    def print(self, text: str = "") -> None:
        print(text, file=self.out, flush=True)

    def redraw(self, text: str) -> None:
        if self.live:
            back = f"\x1b[{self._drawn}A\x1b[J" if self._drawn else ""
            print(back + text, file=self.out, flush=True)
            self._drawn = text.count("\n") + 1

    def erase(self) -> None:
        if self.live and self._drawn:
            print(f"\x1b[{self._drawn}A\x1b[J", end="", file=self.out, flush=True)
        self._drawn = 0


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> str:
    """Columns as wide as their widest cell, those in `right` aligned to the right."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(head))]
    right = set(right)

    def line_of(cells: Sequence[str]) -> str:
        padded = []
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            space = " " * (width - _width(cell))
            padded.append(space + cell if column in right else cell + space)
        return "  " + "   ".join(padded).rstrip()

    rule = "  " + "───".join("─" * width for width in widths)
    return "\n".join([line_of(lines[0]), rule, *map(line_of, lines[1:])])


def _width(cell: str) -> int:
    return len(_ESCAPE.sub("", cell))
