"""One agent per interface, whatever became of the last one."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from wgautomesh.lock import Held, hold


@pytest.fixture
def name() -> str:
    return f"wgt{secrets.token_hex(4)}"


def test_the_second_is_told_who_is_the_first(name: str) -> None:
    code = f"from wgautomesh.lock import hold; held = hold({name!r}); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout and other.stdout.readline()
        for _ in range(5):  # those turned away leave no trace that hides the first
            with pytest.raises(Held) as refused:
                hold(name)
            assert refused.value.pid == other.pid
            assert refused.value.command and refused.value.command.startswith("python")
            assert str(refused.value) == f"process {other.pid} ({refused.value.command})"
        other.kill()
    hold(name).close()  # and a killed holder leaves nothing behind


def test_closing_frees_it(name: str) -> None:
    hold(name).close()
    hold(name).close()


def test_other_interfaces_are_free(name: str) -> None:
    with hold(name), hold(f"{name}x"):
        pass


def test_a_holder_nobody_can_name_still_holds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(_: Path) -> str:
        raise FileNotFoundError

    with hold(name):
        monkeypatch.setattr(Path, "read_text", hidden)
        with pytest.raises(Held) as refused:
            hold(name)
    assert (refused.value.pid, refused.value.command) == (os.getpid(), None)


def test_other_trouble_is_not_taken_for_a_holder() -> None:
    with pytest.raises(OSError, match="AF_UNIX path too long"):
        hold("x" * 200)
