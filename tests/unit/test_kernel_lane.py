"""The kernel lane's runner: where it cannot boot, it fails and says what to install."""

from __future__ import annotations

import os
import sys
import tarfile
from pathlib import Path

import pytest

from tests.kernel import __main__ as lane
from tests.kernel.__main__ import ENDED, MODULE, CannotBootError, boot, kernel_image
from tests.kernel.luggage import VERSION, pack


def install(root: Path, version: str, *, age: float, module: bool = True) -> Path:
    image = root / "boot" / f"vmlinuz-{version}"
    image.parent.mkdir(exist_ok=True)
    image.touch()
    os.utime(image, (1e9 - age, 1e9 - age))
    if module:
        driver = root / "modules" / version / MODULE
        driver.parent.mkdir(parents=True)
        driver.touch()
    return image


def test_the_newest_kernel_with_wireguard_is_booted(tmp_path: Path) -> None:
    install(tmp_path, "6.1.0-9-amd64", age=20)
    newest = install(tmp_path, "6.1.0-10-amd64", age=10)
    install(tmp_path, "6.9.0-cloud-amd64", age=0)
    install(tmp_path, "6.9.0-own", age=0, module=False)
    assert kernel_image(tmp_path / "boot", tmp_path / "modules") == newest


def test_without_a_kernel_to_boot_the_package_is_named(tmp_path: Path) -> None:
    install(tmp_path, "6.9.0-cloud-amd64", age=0)
    with pytest.raises(CannotBootError, match=r"6\.9\.0-cloud-amd64.*apt-get install linux-image-amd64"):
        kernel_image(tmp_path / "boot", tmp_path / "modules")


def test_missing_tools_are_named_by_their_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotBootError, match="apt-get install qemu-system-x86 busybox-static"):
        lane.command([])


def test_a_lane_that_cannot_boot_fails_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["tests.kernel"])
    assert lane.main() == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("code", [0, 3])
def test_the_inner_exit_code_is_the_lanes_and_its_output_is_shown(
    code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert boot(["/bin/sh", "-c", f"echo 8 passed; echo '{ENDED}{code}'; exit 0"]) == code
    assert capsys.readouterr().out == "8 passed\n"


def test_a_machine_that_dies_underway_is_a_failure_with_its_last_words() -> None:
    with pytest.raises(CannotBootError, match="out of memory"):
        boot(["/bin/sh", "-c", "echo out of memory; exit 0"])


@pytest.mark.long
def test_the_luggage_has_an_interpreter_its_environment_and_the_code(tmp_path: Path) -> None:
    pack(lane.REPOSITORY, tmp_path / "luggage.tar")
    with tarfile.open(tmp_path / "luggage.tar") as packed:
        names = set(packed.getnames())
    library = f"lib/{VERSION}"
    assert {f"base/bin/{VERSION}", f"base/{library}/os.py"} <= names
    assert {f"python/{library}/site-packages/{each}" for each in ("msgpack", "pytest", "pyroute2")} <= names
    assert {"repository/wgautomesh/mesh.py", "repository/tests/kernel/test_mesh.py"} <= names
    assert not {f"base/{library}/ensurepip", f"python/{library}/site-packages/mypy"} & names
