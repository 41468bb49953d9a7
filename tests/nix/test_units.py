"""The systemd units, the module's and the example's, as systemd itself judges them offline."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import REPOSITORY, Machine, needs

EXAMPLE = REPOSITORY / "examples" / "systemd" / "wgautomesh@.service"
MAX_EXPOSURE = 15  # tenths, of 100
PROGRAM = "/bin/true"  # stands where the agent is not installed; nothing is run

Directives = dict[str, list[str]]


def render(service: dict[str, Any]) -> str:
    """A unit file as NixOS writes it: a list is the same directive several times."""
    lines = ["[Unit]", f"Description={service['description']}", "[Service]"]
    lines += [f'Environment="{name}={each}"' for name, each in service["environment"].items()]
    for name, given in service["serviceConfig"].items():
        for each in given if isinstance(given, list) else [given]:
            lines.append(f"{name}={str(each).lower() if isinstance(each, bool) else each}")
    return "\n".join(lines) + "\n"


def directives(unit: str) -> Directives:
    """The [Service] section. Lists of words are one sorted list, yes is true."""
    found: Directives = {}
    for line in unit.partition("[Service]\n")[2].partition("\n[")[0].splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).extend([value] if name.startswith("Exec") else value.split())
    return {name: sorted("true" if each == "yes" else each for each in all_) for name, all_ in found.items()}


def analyze(*arguments: str) -> str:
    command = [needs("systemd-analyze", "systemd"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def module_unit(cases: dict[str, dict[str, Machine]]) -> str:
    return render(cases["drop_in"]["minimal"]["services"]["wgautomesh"])


@pytest.fixture(params=["example", "module"])
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit file with programs that exist here."""
    example = request.param == "example"
    text = EXAMPLE.read_text() if example else request.getfixturevalue("module_unit")
    text = "\n".join(_with_program(line) for line in text.splitlines()) + "\n"
    path = tmp_path / ("wgautomesh@home.service" if example else "wgautomesh.service")
    path.write_text(text)
    return path


def _with_program(line: str) -> str:
    name, _, command = line.partition("=")
    return f"{name}={PROGRAM} {command.partition(' ')[2]}" if name.startswith("Exec") else line


def test_systemd_finds_no_mistake_in_the_unit(unit: Path) -> None:
    assert analyze("verify", "--man=no", str(unit)).strip() == ""


def test_the_unit_exposes_little(unit: Path) -> None:
    analyze("security", "--offline=true", "--no-pager", f"--threshold={MAX_EXPOSURE}", str(unit))


def test_the_judge_is_awake(tmp_path: Path) -> None:
    bare = tmp_path / "bare.service"
    bare.write_text(f"[Service]\nExecStart={PROGRAM}\nNoSuchDirective=yes\n")
    assert "NoSuchDirective" in analyze("verify", "--man=no", str(bare))
    with pytest.raises(AssertionError, match="exposure"):
        analyze("security", "--offline=true", "--no-pager", f"--threshold={MAX_EXPOSURE}", str(bare))


def test_module_and_example_are_the_same_but_for_their_places(module_unit: str) -> None:
    module, example = directives(module_unit), directives(EXAMPLE.read_text())
    places = {
        "Environment",
        "ExecStart",
        "ExecReload",
        "LoadCredential",
        "RuntimeDirectory",
        "StateDirectory",
    }
    assert {k: v for k, v in module.items() if k not in places} == {
        k: v for k, v in example.items() if k not in places
    }


def test_several_meshes_on_a_host_share_no_folder() -> None:
    example = directives(EXAMPLE.read_text())
    assert example["ExecStart"] == ["/usr/local/bin/wgautomesh /etc/wgautomesh/%i.toml"]
    for name in ("RuntimeDirectory", "StateDirectory"):
        assert example[name] == ["wgautomesh/%i"]


def test_the_unit_has_one_capability_and_room_to_use_it() -> None:
    example = directives(EXAMPLE.read_text())
    assert example["CapabilityBoundingSet"] == example["AmbientCapabilities"] == ["CAP_NET_ADMIN"]
    assert example["RestrictAddressFamilies"] == ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX"]
    assert example["Type"] == ["notify"]
    # In a user namespace or a network of its own the capability would be worth nothing.
    assert "PrivateUsers" not in example
    assert "PrivateNetwork" not in example
