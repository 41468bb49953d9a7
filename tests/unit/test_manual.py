"""The manual page, the schema and the dashboard say what the program does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from wgautomesh.arguments import COMMANDS
from wgautomesh.metrics import respond
from wgautomesh.observer import Histogram, Observer
from wgautomesh.report import View
from wgautomesh.tally import Tally

REPOSITORY = Path(__file__).parents[2]


def test_the_manual_page_is_the_parsers() -> None:
    made = subprocess.run(
        [sys.executable, "docs/make_man.py"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert made == (REPOSITORY / "docs" / "wgautomesh.1").read_text(), (
        "python docs/make_man.py > docs/wgautomesh.1"
    )
    for command in COMMANDS:
        assert f".SH {(command or 'the agent').upper()}" in made


def test_the_dashboard_asks_for_figures_that_there_are() -> None:
    view = View("wg0", (), 1.0, 0.0, mapping="yes")
    text = b"".join(
        part
        for part in respond(b"GET /metrics HTTP/1.1", lambda: view, Observer(), Tally(), Histogram((1.0,)))
        if isinstance(part, bytes)
    ).decode()
    known = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    dashboard = json.loads((REPOSITORY / "examples" / "grafana" / "wgautomesh.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    used = {
        re.sub("_(bucket|sum|count)$", "", name)
        for each in asked
        for name in re.findall(r"wgautomesh_\w+", each)
    }
    assert len(asked) >= 8 and used <= known, used - known
    assert known - used <= {"wgautomesh_uptime_seconds"}
