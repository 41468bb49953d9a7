"""The command line, as a person or a service manager meets it: exit status, one line, never a traceback."""

from __future__ import annotations

import logging
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wgautomesh import __version__, agent, cli
from wgautomesh.config import Config
from wgautomesh.lock import hold
from wgautomesh.values import Key, key_text

KEY = key_text(Key(bytes(range(32))))
CLOCK = r"\d\d:\d\d:\d\d\.\d\d\d "


@pytest.fixture(autouse=True)
def logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("WGAUTOMESH_LOG", raising=False)
    root = logging.getLogger()
    handlers, level, loud = root.handlers[:], root.level, logging.raiseExceptions
    yield
    root.handlers[:], logging.raiseExceptions = handlers, loud
    root.setLevel(level)


@pytest.fixture
def interface() -> str:
    return f"wgt{secrets.token_hex(4)}"  # one that no agent serves


@pytest.fixture
def path(tmp_path: Path, interface: str) -> Path:
    path = tmp_path / "mesh.toml"
    path.write_text(f'interface = "{interface}"\ngossip_secret = "correct horse"\n')
    return path


def program(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run as a process of its own; nothing it does may end in a traceback."""
    run = subprocess.run(
        [sys.executable, "-m", "wgautomesh", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={name: text for name, text in os.environ.items() if name != "JOURNAL_STREAM"} | environ,
    )
    assert "Traceback" not in run.stdout + run.stderr
    return run


def test_the_version() -> None:
    run = program("--version")
    assert (run.returncode, run.stdout, run.stderr) == (0, f"wgautomesh {__version__}\n", "")


@pytest.mark.parametrize("arguments", [("--help",), ("check", "--help")])
def test_help_names_the_configuration(arguments: tuple[str, ...]) -> None:
    run = program(*arguments)
    assert run.returncode == 0 and "default /etc/wgautomesh.toml" in run.stdout


def test_check_says_ok_or_not(path: Path) -> None:
    run = program("check", path)
    assert run.returncode == 0 and run.stdout.startswith(f"{path}: ok: ")
    path.write_text("interfaec = 1\n")
    run = program("check", path)
    assert run.returncode == 1 and len(run.stdout.splitlines()) == 3


def test_check_speaks_to_any_terminal(path: Path) -> None:
    path.write_text('"é\\u202e" = 1\ninterface = "wg0"\n')
    run = program("check", path, PYTHONIOENCODING="ascii")
    assert run.returncode == 1 and "\\xe9\\x202e: is not a known key" in run.stdout


@pytest.mark.parametrize(("reader", "words"), [("full", "No space left on device"), ("gone", "Broken pipe")])
def test_a_reader_that_is_full_or_gone_is_one_line(path: Path, reader: str, words: str) -> None:
    if reader == "full":
        stdout = os.open("/dev/full", os.O_WRONLY)
    else:
        heard, stdout = os.pipe()
        os.close(heard)
    run = subprocess.run(
        [sys.executable, "-m", "wgautomesh", "check", path],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(stdout)
    assert (run.returncode, run.stderr) == (1, f"wgautomesh: cannot write: {words}\n")


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    run = program(tmp_path / "none.toml")
    assert run.returncode == 1 and run.stdout == ""
    line = rf"{CLOCK}error {tmp_path}/none\.toml cannot be read: No such file or directory\n"
    assert re.fullmatch(line, run.stderr)


@pytest.mark.parametrize("given", ["option", "environment"])
def test_a_wrong_log_level_is_one_line(path: Path, given: str) -> None:
    run = program("--log-level", "loud", path) if given == "option" else program(path, WGAUTOMESH_LOG="loud")
    assert run.returncode == 2
    assert run.stderr == 'wgautomesh: log level "loud" is not one of trace, debug, info, warn, error\n'


def test_an_unknown_option_is_explained() -> None:
    run = program("--fast")
    assert run.returncode == 2 and "unrecognized arguments: --fast" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--dns-mesh", "_p2p.example.com"), "--dns-mesh and --interface are needed together"),
        (("--interface", "wg0"), "--dns-mesh and --interface are needed together"),
        (("some.toml", "--dns-mesh", "x.example", "--interface", "wg0"), "either CONFIG or the options"),
    ],
)
def test_options_in_place_of_a_file_must_be_whole(arguments: tuple[str, ...], said: str) -> None:
    run = program(*arguments)
    assert run.returncode == 2 and said in run.stderr


def test_mistakes_in_options_are_named_like_those_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "none"
    run = program("--dns-mesh", "no name", "--interface", "wg/0", "--gossip-secret-file", secret)
    assert run.returncode == 1
    for said in ('dns_mesh: "no name" is no DNS name', "interface: ", f"{secret} cannot be read"):
        assert f"command line: {said}" in run.stderr or said in run.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--name", "no name"), '"no name" is no DNS name'),
        (("--name", "a.example", "/nowhere.toml"), "/nowhere.toml cannot be read"),
        (("--name", "a.example", "--interface", "nowg", "--dns-mesh", "b.example"), "nowg is no WireGuard"),
    ],
)
def test_records_that_cannot_be_told_are_one_line(arguments: tuple[str, ...], said: str) -> None:
    run = program("dns-record", *arguments)
    assert (run.returncode, run.stdout, len(run.stderr.splitlines())) == (1, "", 1)
    assert said in run.stderr


def test_the_second_agent_of_an_interface_is_told_who_has_it(path: Path, interface: str) -> None:
    with hold(interface):
        run = program(path)
    assert run.returncode == 1
    line = rf"{CLOCK}error {interface} already has an agent: process {os.getpid()} \(.+\)\n"
    assert re.fullmatch(line, run.stderr)


def served(monkeypatch: pytest.MonkeyPatch, trouble: Exception | None = None) -> list[Config]:
    """What the agent is started with, in place of running it."""
    configs: list[Config] = []

    def run(config: Config, *_: object, **__: object) -> None:
        configs.append(config)
        if trouble:
            raise trouble

    monkeypatch.setattr(agent, "run", run)
    return configs


def test_the_good_peers_are_served_and_each_mistake_is_a_line(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(
        path.read_text()
        + f'[[peers]]\npubkey = "{KEY}"\naddress = "10.14.4.1"\n'
        + '[[peers]]\npubkey = ""\naddress = "10.14.4.2"\n'
        + f'[[peers]]\npubkey = "{key_text(Key(bytes(32)))}"\naddress = "10.14.4.3"\nendpoint = "1.2.3.4"\n'
    )
    configs = served(monkeypatch)
    assert cli.main([str(path)]) == 0
    assert [[str(each.address) for each in config.members] for config in configs] == [["10.14.4.1"]]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(" error " in line for line in lines)
    assert f"{path}: peers[2].pubkey: is empty" in lines[0]
    assert f'{path}: peers[3].endpoint: "1.2.3.4" has no port; write "1.2.3.4:51820"' in lines[1]


def test_no_secret_is_a_warning(
    path: Path, interface: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(f'interface = "{interface}"\n')
    configs = served(monkeypatch)
    assert cli.main([str(path)]) == 0 and len(configs) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert " warn " in line and "no gossip_secret" in line


def test_missing_rights_are_one_line(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served(monkeypatch, PermissionError(1, "needs CAP_NET_ADMIN"))
    assert cli.main([str(path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("error needs CAP_NET_ADMIN")


def test_a_stopped_agent_frees_its_interface(
    path: Path, interface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    served(monkeypatch)
    assert cli.main([str(path)]) == 0
    hold(interface).close()


def test_the_level_of_the_option_comes_before_that_of_the_environment(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served(monkeypatch)
    monkeypatch.setenv("WGAUTOMESH_LOG", "error")
    cli.main([str(path)])
    assert logging.getLogger("wgautomesh").level == logging.ERROR
    cli.main(["--log-level", "debug", str(path)])
    assert logging.getLogger("wgautomesh").level == logging.DEBUG
