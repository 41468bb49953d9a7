"""What a person sees: every fact, at every width, with colours only where they belong."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.unit.large import mesh_of, view_of
from wgautomesh import report, screen
from wgautomesh.screen import Style

REASON = "both NATs change ports: map or fix a port on one side"


def answer(count: int = 4) -> dict[str, Any]:
    view = view_of(*mesh_of(count))
    return {**report.status_head(view), "peers": [dict(each) for each in report.peer_rows(view)]}


def shown(given: dict[str, Any], width: int, *, colour: bool = False) -> list[str]:
    return screen.status(given, Style(width, colour))


@pytest.mark.parametrize("width", [80, 120, 200])
def test_it_fits_and_shows_every_fact(width: int) -> None:
    given = answer()
    first, last = given["peers"][0], given["peers"][-1]
    last.update(reason=REASON, endpoint=None, path=None)
    lines = shown(given, width)
    assert all(len(line) <= width for line in lines)
    row = next(line for line in lines if first["name"] in line.split())
    for fact in (first["address"], first["endpoint"], "direct", "ms"):
        assert fact in row
    assert ("connected" in row) is (width >= screen.WIDE)
    text = " ".join(" ".join(lines).split())
    for fact in (REASON, given["key"], "3 of 4 connected", "NAT not known", "no port mapping", "sealed"):
        assert fact in text


def test_one_line_a_peer() -> None:
    given = answer(50)
    lines = shown(given, 120)
    begin = next(number for number, line in enumerate(lines) if "ADDRESS" in line)
    assert len(lines) - begin - 1 == 50


def test_where_members_come_from_is_shown_if_it_is_not_the_file_alone() -> None:
    given = answer()
    assert "FROM" not in " ".join(shown(given, 120))
    given["peers"][0]["origin"] = "DNS"
    lines = shown(given, 120)
    row = next(line for line in lines if given["peers"][0]["name"] in line.split())
    assert any("FROM" in line for line in lines) and "DNS" in row.split()
    assert all(len(line) <= 80 for line in shown(given, 80))


@pytest.mark.parametrize("width", [60, 80])
def test_long_names_and_ipv6_are_cut_in_the_middle_and_reasons_never(width: int) -> None:
    given = answer()
    for each in given["peers"]:
        each["name"] = "a-name-that-somebody-found-very-telling-" + each["name"]
        each["address"] = "fd77:1234:5678:9abc:def0:1234:5678:9abc"
    given["peers"][0]["endpoint"] = "[2001:db8:1234:5678:9abc:def0:1234:5678]:51820"
    given["peers"][-1]["reason"] = REASON
    lines = shown(given, width)
    assert all(len(line) <= width for line in lines)
    assert "…" in "".join(lines)
    assert REASON in re.sub(r"\s+", " ", " ".join(lines))


def test_wide_letters_take_two_columns() -> None:
    given = answer()
    given["peers"][0]["name"] = "屋根裏"
    rows = [line for line in shown(given, 120) if "10.64.0." in line]
    columns = {screen.width_of(line[: line.index("10.64.0.")]) for line in rows}
    assert len(columns) == 1


def test_colours_only_when_asked_for() -> None:
    given = answer()
    assert not any("\x1b" in line for line in shown(given, 80))
    assert any("\x1b[32m" in line for line in shown(given, 80, colour=True))
    plain = [re.sub("\x1b\\[[0-9;]*m", "", line).rstrip() for line in shown(given, 80, colour=True)]
    assert plain == shown(given, 80)


def test_a_terminal_without_unicode_gets_other_marks() -> None:
    lines = screen.status(answer(), Style(80, unicode=False))
    assert all(line.isascii() for line in lines)


@pytest.mark.parametrize(("agent", "mark"), [(True, "●"), (False, "◐")])
def test_a_connected_peer_with_a_flaw_says_so_below(agent: bool, mark: str) -> None:
    given = answer()
    if not agent:
        given["peers"][0]["reason"] = "reachable, but no agent answers there"
    lines = shown(given, 80)
    at = next(number for number, line in enumerate(lines) if "n0" in line.split())
    assert lines[at].startswith(mark)
    assert ("no agent answers" in lines[at + 1]) is not agent


def test_explain_tells_candidates_and_events() -> None:
    mesh, device = mesh_of(4)
    view = view_of(mesh, device)
    link = list(mesh.links.values())[3]
    assert not link.is_up
    link.journal.shot(next(iter(link.candidates)).endpoint, view.now - 3)
    given = dict(report.explanation(view, link))
    times = {each["age"]: "12:00:00" for each in given["events"]}  # type: ignore[attr-defined]
    times |= {each["first"]: "11:00:00" for each in given["events"]}  # type: ignore[attr-defined]
    lines = screen.explain(given, Style(80), times)
    text = "\n".join(lines)
    assert all(len(line) <= 80 for line in lines)
    for fact in ("n3", "44.0.0.4:51820", "configured", "here", "3 s", "no answer", "event 2", "why: "):
        assert fact in text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (1000, "1.0K"), (10 * 1024, "10K"), (5 * 2**30, "5.0G")]
)
def test_bytes_in_few_characters(count: int, text: str) -> None:
    assert screen.size(count) == text and len(screen.size(2**50)) <= 5


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (90000, "25 h")])
def test_times_in_few_characters(seconds: float, text: str) -> None:
    assert screen.span(seconds) == text
