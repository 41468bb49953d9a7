"""How the lab talks to the system: commands, network namespaces, and the removal of what dead runs left.

Nothing here knows what a mesh is. Everything made carries the run's mark in its name, so that a later run can
tell whose it was and whether its maker still lives.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

NETNS = Path("/run/netns")
UAPI = Path("/var/run/wireguard")  # wireguard-go's sockets: one directory for all namespaces
KILL_TIME = 5.0  # s until a killed process must be gone
FORK_TIME = 0.2  # s between a process's birth and the command it becomes, on a busy machine

_NAMESPACE = re.compile(r"wgam-(?P<pid>\d+)-\d+-.+\Z")
_FOLDER = re.compile(r"wgam-(?P<pid>\d+)-\d+-")
_INTERFACE = re.compile(r"wg(?P<pid>\d+)-\d+-\d+\.sock\Z")


class LabError(Exception):
    """The lab itself could not do its work; says which command failed, and how."""


def run(command: Sequence[str], *, stdin: str = "", check: bool = True) -> str:
    """Run a command to its end; its standard output. LabError unless it succeeds (or `check` is off)."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise LabError(
            f"{' '.join(command)}: {done.stderr.strip() or f'exit {done.returncode}'}\n{stdin}".strip()
        )
    return done.stdout


@dataclass(frozen=True, slots=True)
class Mark:
    """Names of what one lab makes. Interface names stay within the kernel's 15 characters."""

    serial: int  # tells apart the labs that one process has at a time
    pid: int = field(default_factory=os.getpid)

    @classmethod
    def fresh(cls) -> Mark:
        """A mark that no namespace bears yet."""
        taken = {path.name.split("-")[2] for path in NETNS.glob(f"wgam-{os.getpid()}-*")}
        return cls(next(number for number in itertools.count() if str(number) not in taken))

    def namespace(self, name: str) -> str:
        return f"wgam-{self.pid}-{self.serial}-{name}"

    def interface(self, number: int) -> str:
        return f"wg{self.pid}-{self.serial % 100}-{number}"

    def folder(self) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"wgam-{self.pid}-{self.serial}-"))

    def remove_files(self) -> None:
        """By their names: a signal may have come before anybody held the last one."""
        for socket in UAPI.glob(f"wg{self.pid}-{self.serial % 100}-*.sock"):
            socket.unlink(missing_ok=True)
        for folder in Path(tempfile.gettempdir()).glob(f"wgam-{self.pid}-{self.serial}-*"):
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace without any way out but the links that are put into it."""

    name: str

    def create(self, sysctls: Mapping[str, object]) -> None:
        run(["ip", "netns", "add", self.name])
        self.run("sysctl", "-qw", *(f"{key}={value}" for key, value in sysctls.items()))
        self.ip("link set lo up")

    def run(self, *command: str, stdin: str = "", check: bool = True) -> str:
        return run(["ip", "netns", "exec", self.name, *command], stdin=stdin, check=check)

    def ip(self, *lines: str) -> None:
        """Several `ip` commands in one process; the first that fails ends it."""
        run(["ip", "-n", self.name, "-batch", "-"], stdin="\n".join(lines) + "\n")

    def nft(self, rules: str) -> None:
        self.run("nft", "-f", "-", stdin=rules)

    def spawn(
        self,
        *command: str,
        stdin: int | None = subprocess.DEVNULL,
        output: IO[bytes] | int,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process inside, in a session of its own so that the terminal's Ctrl-C reaches only us."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command],
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )

    def pids(self) -> list[int]:
        return [int(pid) for pid in run(["ip", "netns", "pids", self.name], check=False).split()]

    def remove(self) -> None:
        """Kill what runs inside, stopped processes included, and delete the namespace with all its links."""
        deadline = time.monotonic() + KILL_TIME
        while (pids := self.pids()) and time.monotonic() < deadline:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        run(["ip", "netns", "del", self.name], check=False)


def sweep() -> list[str]:
    """Remove what runs that no longer live left behind (a SIGKILL spares nobody); what was removed.

    A killed run's last command lives on and makes its namespace later. Between its fork and its exec nothing
    tells it from others: hence the second look, some time after the first.
    """
    removed = [*_end_commands_of_the_dead(), *_remove_things_of_the_dead()]
    if removed:
        time.sleep(FORK_TIME)
        removed += [*_end_commands_of_the_dead(), *_remove_things_of_the_dead()]
    return removed


def _end_commands_of_the_dead() -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended as we looked
            program, *words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            marks = filter(None, map(_NAMESPACE.match, words))
            if program == "ip" and any(_is_dead(mark) for mark in marks):
                os.kill(int(process.name), signal.SIGKILL)
                yield f"command {program} {' '.join(words)}"


def _remove_things_of_the_dead() -> Iterator[str]:
    for path in _of_the_dead(NETNS, _NAMESPACE):
        Namespace(path.name).remove()
        yield f"namespace {path.name}"
    for path in _of_the_dead(UAPI, _INTERFACE):
        path.unlink(missing_ok=True)
        yield f"socket {path}"
    for path in _of_the_dead(Path(tempfile.gettempdir()), _FOLDER):
        shutil.rmtree(path, ignore_errors=True)
        yield f"folder {path}"


def _of_the_dead(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    ours = [(path, pattern.match(path.name)) for path in folder.iterdir()]
    return sorted(path for path, mark in ours if mark and _is_dead(mark))


def _is_dead(mark: re.Match[str]) -> bool:
    return not Path("/proc", mark["pid"]).exists()


if __name__ == "__main__":
    for each in sweep():
        print(f"removed {each}", file=sys.stderr)
