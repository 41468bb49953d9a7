"""Reading a table of TOML: typed values out, and everything that is wrong with it gathered on the way."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Mistake:
    """`where` is the key as a person would look for it, such as `peers[2].endpoint`, counted from 1."""

    where: str
    what: str
    fatal: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class Reader:
    """One table. `prefix` stands before its keys in mistakes, such as `peers[2].`."""

    def __init__(self, table: dict[str, Any], mistakes: list[Mistake], prefix: str = "") -> None:
        self.table = table
        self.mistakes = mistakes
        self._prefix = prefix

    def wrong(self, key: str, what: str, *, fatal: bool = False) -> None:
        self.mistakes.append(Mistake(f"{self._prefix}{key}", what, fatal))

    def unknown(self, known: tuple[str, ...]) -> None:
        """Name every key that is not known."""
        for key in self.table:
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                self.wrong(
                    key, f"is not a known key; did you mean {close[0]}?" if close else "is not a known key"
                )

    def typed(self, key: str, kind: type, *, fatal: bool = False) -> Any:
        """The value, None if it is not there or of another type."""
        value = self.table.get(key)
        if value is None or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
            return value
        meant = _meant(value, kind)
        mend = f"; write {key} = {meant}" if meant else ""
        self.wrong(key, f"is not {_NOUNS[kind]} but {kind_of(value)}{mend}", fatal=fatal)
        return None

    def text(self, key: str, meaning: str) -> str | None:
        """A text with something in it; anything else is a mistake."""
        value = self.table.get(key)
        if isinstance(value, str) and value.strip():
            return value.strip()
        if key not in self.table:
            what = "is missing"
        else:
            what = "is empty" if isinstance(value, str) else f"is not text but {kind_of(value)}"
        self.wrong(key, f'{what}; write {key} = "…": {meaning}')
        return None


_SWITCHES = {"true": "true", "yes": "true", "on": "true", "1": "true"}
_SWITCHES |= {"false": "false", "no": "false", "off": "false", "0": "false"}
_NOUNS: dict[type, str] = {
    str: "text",
    int: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
    float: "a fraction",
}


def _meant(value: object, kind: type) -> str | None:
    """How to write what the person most likely meant."""
    word = str(value).strip().lower() if isinstance(value, str | int) else ""
    if kind is int and word.isdecimal() and word.isascii() and len(word) < 20:
        return word
    if kind is bool and word in _SWITCHES:
        return _SWITCHES[word]
    return None


def kind_of(value: object) -> str:
    return _NOUNS.get(type(value), "a date or time")  # TOML knows no other kind
