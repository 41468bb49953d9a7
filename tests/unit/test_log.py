"""Log lines: one an event, whatever is in it, for a person or for the journal."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from wgautomesh.log import DETAILS_WINDOW, MAX_DETAILS, TRACE, set_up

SPEAK_AT_EVERY_LEVEL = """
import json
import logging
from wgautomesh.log import DETAILS_WINDOW, MAX_DETAILS, TRACE, set_up
set_up("trace")
for level in (5, 10, 20, 30, 40):
    logging.getLogger("wgautomesh.test").log(level, "level %d", level)
"""


LOG = logging.getLogger("wgautomesh.test")


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, loud = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers[:], logging.raiseExceptions = handlers, loud
    root.setLevel(level)


def lines_of(journal: bool | None) -> list[str]:
    """`journal`: the variable names this very stream (True), another one (False), or is not set (None)."""
    heard, told = os.pipe()
    status = os.fstat(told)
    stream = {True: f"{status.st_dev}:{status.st_ino}", False: "1:1", None: None}[journal]
    environ = {name: text for name, text in os.environ.items() if name != "JOURNAL_STREAM"}
    if stream:
        environ["JOURNAL_STREAM"] = stream
    subprocess.run([sys.executable, "-c", SPEAK_AT_EVERY_LEVEL], stderr=told, env=environ, check=True)
    os.close(told)
    with os.fdopen(heard) as file:
        return file.read().splitlines()


def test_the_journal_gets_priorities() -> None:
    assert lines_of(journal=True) == [
        "<7>level 5",
        "<7>level 10",
        "<6>level 20",
        "<4>level 30",
        "<3>level 40",
    ]


@pytest.mark.parametrize("journal", [False, None])
def test_a_person_gets_the_time_and_the_level(journal: bool | None) -> None:
    # A shell that some service started has the variable too, but is not the journal.
    words = [line.split() for line in lines_of(journal)]
    assert [line[1] for line in words] == ["trace", "debug", "info", "warn", "error"]
    assert all(len(line[0]) == len("12:34:56.789") and line[2] == "level" for line in words)


def test_what_is_below_the_level_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("warn")
    LOG.info("quiet")
    LOG.warning("loud")
    assert "quiet" not in (err := capsys.readouterr().err) and "loud" in err


def test_libraries_do_not_tell_what_they_do_in_detail(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("trace")
    logging.getLogger("library").info("chatter")
    logging.getLogger("library").warning("trouble")
    assert "chatter" not in (err := capsys.readouterr().err) and "trouble" in err


def test_nobody_can_forge_a_line_or_colour_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("info")
    LOG.info("name %s é", "a\n12:00:00.000 error forged\r\x1b[31m\u202e\0")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(r"name a\x0a12:00:00.000 error forged\x0d\x1b[31m\x202e\x00 é")


def test_a_traceback_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("info")
    try:
        raise ValueError("two\nlines \x1b[31m")
    except ValueError:
        logging.exception("unexpected")
    (line,) = capsys.readouterr().err.splitlines()
    assert "unexpected | Traceback" in line and r"ValueError: two | lines \x1b[31m" in line


@pytest.mark.parametrize("closing", ["2>&-", "2>/dev/full"])
def test_a_closed_or_full_stderr_is_no_reason_to_die(closing: str) -> None:
    script = f'{SPEAK_AT_EVERY_LEVEL}\nprint("alive")'
    shell = f'exec "$0" -c "$1" {closing}'
    run = subprocess.run(
        ["sh", "-c", shell, sys.executable, script], capture_output=True, text=True, check=True
    )
    assert run.stdout == "alive\n"


def test_json_is_one_object_a_line_and_names_the_peer(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("info", "json")
    LOG.warning("two\nlines of %s", "é", extra={"peer": "KEY"})
    try:
        raise ValueError("a\nb")
    except ValueError:
        LOG.exception("broken")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["level"], first["peer"], first["module"]) == ("warn", "KEY", "test")
    assert first["text"] == "two\\x0alines of é"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert second["level"] == "error" and "ValueError" in second["text"] and "peer" not in second


def test_strangers_cannot_fill_the_log_with_details(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("wgautomesh.log.time.monotonic", lambda: clock[0])
    set_up("trace")

    def flood(level: int) -> int:
        for number in range(1000):
            LOG.log(level, "datagram %d", number)
        return len(capsys.readouterr().err.splitlines())

    for _ in range(2):
        assert flood(logging.DEBUG) == MAX_DETAILS + 1
        LOG.debug("another place")
        assert "another place" in capsys.readouterr().err
        clock[0] += DETAILS_WINDOW + 1
    assert flood(logging.INFO) == flood(TRACE) == 1000
