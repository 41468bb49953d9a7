"""What the machine needs of Python and of this repository, packed into one file.

Over 9p every import is read anew, file by file, and an emulated processor takes up to 20 s for those of one
agent. Unpacked into the machine's memory, where an unprivileged user reaches it too, it takes a tenth.
"""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
# Large, and nobody inside wants it.
LEFT_OUT = {"test", "idlelib", "ensurepip", "tkinter", "lib2to3", "distutils", "turtledemo"}
LEFT_OUT |= {"atheris", "mypy", "mypyc", "pip", "setuptools", "ruff", "ast_serialize", "virtme"}


def pack(repository: Path, into: Path) -> None:
    """`base/` is the interpreter with its library, `python/` the environment, `repository/` the code."""
    base, venv = Path(sys.base_prefix), Path(sys.prefix)
    library = Path("lib", VERSION)
    with tarfile.open(into, "w") as tar:
        tar.add((base / "bin" / VERSION).resolve(), Path("base", "bin", VERSION))
        for shared in (base / "lib").glob("libpython3*.so*"):
            tar.add(shared, Path("base", "lib", shared.name))
        _add(tar, base / library, Path("base") / library, LEFT_OUT | {"site-packages", "dist-packages"})
        _add(tar, venv / library, Path("python") / library, LEFT_OUT)
        for part in ("wgautomesh", "tests", "examples"):
            _add(tar, repository / part, Path("repository", part), set())
        tar.add(repository / "pyproject.toml", Path("repository", "pyproject.toml"))


def _add(tar: tarfile.TarFile, here: Path, there: Path, left_out: set[str]) -> None:
    """A folder, without what is left out at its top or in its site-packages."""
    for each in sorted(here.iterdir()):
        if each.name in left_out or each.name.startswith("config-") or "mypyc" in each.name:
            continue
        if each.name == "site-packages":
            _add(tar, each, there / each.name, left_out)
        else:
            tar.add(each, there / each.name)
