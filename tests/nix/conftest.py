"""What the tests of the Nix files and the systemd units share. Nothing is built, started or downloaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

REPOSITORY = Path(__file__).parents[2]
HERE = Path(__file__).parent

Machine: TypeAlias = dict[str, Any]  # a result of evaluate.nix


def needs(command: str, package: str) -> str:
    """Where the command is. Without it the test fails and says what to install: a skip proves nothing."""
    found = shutil.which(command)
    if found is None:
        pytest.fail(f"{command} is missing: apt-get install {package}", pytrace=False)
    return found


def instantiate(*arguments: str, environ: Mapping[str, str] = os.environ) -> str:
    """The output of nix-instantiate, which neither reads nor makes a store."""
    command = [needs("nix-instantiate", "nix-bin"), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=dict(environ)
    )
    if done.returncode:
        pytest.fail(done.stderr, pytrace=False)
    return done.stdout


def evaluate(file: str, **paths: Path) -> Any:
    """The value of a file in this folder, called with absolute paths."""
    given = [word for name, path in paths.items() for word in ("--arg", name, str(path))]
    options = ["--eval", "--strict", "--json", "--readonly-mode", "--store", "dummy://"]
    return json.loads(instantiate(*options, str(HERE / file), *given))


@pytest.fixture(scope="session")
def nixpkgs_lib() -> Path:
    given = os.environ.get("NIXPKGS_LIB")
    if not given:
        pytest.skip("NIXPKGS_LIB is not set: give it a checkout of github.com/nix-community/nixpkgs.lib")
    path = Path(given).resolve()
    if not (path / "lib" / "default.nix").is_file():
        pytest.fail(f"NIXPKGS_LIB={given} has no lib/default.nix", pytrace=False)
    return path


@pytest.fixture(scope="session")
def cases(nixpkgs_lib: Path) -> dict[str, dict[str, Machine]]:
    """All of cases.nix, evaluated: by kind, then by name."""
    found: dict[str, dict[str, Machine]] = evaluate("evaluate.nix", nixpkgsLib=nixpkgs_lib)
    return found
