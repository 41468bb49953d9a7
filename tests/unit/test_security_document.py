"""docs/security.md names tests; each of them must be there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TEXT = (TESTS.parent / "docs" / "security.md").read_text()
_NAMED = re.compile(r"`(?P<place>(?:lab/)?[a-z_]+)::(?P<name>\w+)`")


def test_every_test_that_is_named_exists() -> None:
    named = {(found["place"], found["name"]) for found in _NAMED.finditer(TEXT)}
    assert len(named) > 40
    for place, name in named:
        folder, _, module = place.rpartition("/")
        code = (TESTS / (folder or "unit") / f"test_{module}.py").read_text()
        assert re.search(rf"^(?:def|class) {name}\b", code, re.MULTILINE), f"{place}::{name}"


def test_every_line_of_the_threat_model_names_what_shows_it() -> None:
    model = TEXT[TEXT.index("## Who may want") : TEXT.index("## Searched by fuzzers")]
    rows = [line for line in model.splitlines() if re.match(r"\| (?!cannot|what)", line)]
    assert len(rows) > 35
    assert [row for row in rows if "::" not in row and "make test-day" not in row] == []
