"""Debian's systemd as a container's first process: it runs units as it would on a machine.

It lives in process and mount namespaces of its own, in the network namespace of one node of the lab.
"""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType

from ..lab.shell import LabError, Namespace, run
from .__main__ import INSIDE

BOOT_TIME = 180.0  # s; about 25 on an idle machine
POLL = 2.0  # s; a look costs up to 0.5 s of an emulated processor
SCRIPT = f"""
set -e
mount --make-rprivate /
mount --rbind {INSIDE} /mnt
mount -t tmpfs -o mode=755 run /run
mkdir {INSIDE}
mount --rbind /mnt {INSIDE}
umount -l /mnt
mount --make-rshared /
exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=basic.target
"""


class Booted:
    """`systemctl` and files of a running systemd. LabError when it does not come up."""

    def __init__(self, ns: Namespace, folder: Path) -> None:
        self._log = folder / "systemd.log"
        with self._log.open("wb") as log:
            unshare = ("unshare", "--pid", "--mount", "--fork", "--mount-proc")
            self._process = ns.spawn(*unshare, "sh", "-c", SCRIPT, output=log)

    def __enter__(self) -> Booted:
        deadline = time.monotonic() + BOOT_TIME
        while self._says("is-active", "basic.target") != "active":
            if time.monotonic() > deadline or self._process.poll() is not None:
                jobs, said = self._says("list-jobs"), self._log.read_text()
                self.close()
                raise LabError(f"systemd did not come up; it said: {said}\nand still has to do: {jobs}")
            time.sleep(POLL)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it and all it runs: the kernel sees to that when the first process dies."""
        for pid in self._children():
            subprocess.run(["kill", "-KILL", str(pid)], check=False)
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def systemctl(self, *words: str) -> str:
        """LabError, with what the unit logged, unless it succeeds."""
        try:
            return run(self._inside("systemctl", *words))
        except LabError as error:
            raise LabError(f"{error}\n{self.journal()}") from None

    def shows(self, unit: str, name: str) -> str:
        return self._says("show", "--value", "--property", name, unit)

    def journal(self) -> str:
        return run(self._inside("journalctl", "--no-pager", "--output", "cat", "--boot"), check=False)

    def host_pid(self, unit: str) -> int:
        """The unit's main process, by its number outside."""
        inner = self.shows(unit, "MainPID")
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                numbers = next(line for line in status.read_text().splitlines() if line.startswith("NSpid"))
            except (OSError, StopIteration):  # it ended meanwhile
                continue
            if numbers.split()[1:][1:] == [inner]:
                return int(status.parent.name)
        raise LabError(f"{unit} has no main process")

    def _says(self, *words: str) -> str:
        return run(self._inside("systemctl", *words), check=False).strip() if self._children() else ""

    def _inside(self, *command: str) -> list[str]:
        target = str(next(iter(self._children()), 0))
        return ["nsenter", "--target", target, "--mount", "--pid", "--net", *command]

    def _children(self) -> list[int]:
        path = Path("/proc", str(self._process.pid), "task", str(self._process.pid), "children")
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []
