"""The kernel lane: boots Debian's kernel in qemu over this very file system and runs the tests beside this.

    python -m tests.kernel [PYTEST ARGUMENTS]

Nothing is installed, no KVM is needed, and nothing outlives the machine but the folders of failed tests. What
cannot boot fails and says what is missing.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .luggage import VERSION, pack

REPOSITORY = Path(__file__).parents[2]
FAILURES = REPOSITORY / "failures"  # the one place that the machine may write to
MODULE = "kernel/drivers/net/wireguard/wireguard.ko"
MEMORY, CPUS = "2G", "2"
TIME = 1500.0  # s for everything; it takes 600. A machine that hangs must not hold its maker
TEST_TIME = 600.0  # s for one test: where it hangs is worth more than that it did
ENDED = "the tests in the machine ended with exit code "  # its last line; without it, it died underway

PACKAGES = {  # command: Debian package; virtme-ng wants a static busybox to load the file system's driver
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
}

LUGGAGE = REPOSITORY / ".venv" / "kernel.tar"
INSIDE = Path("/run/kernel-lane")  # in the machine's memory: what was packed, and temporary files
SCRIPT = """
modprobe wireguard || exit
mkdir -p {inside}/tmp {inside}/repository/failures {inside}/python/bin && cd {inside} || exit
tar -xf {luggage} && mount --bind {failures} repository/failures || exit
echo "home = {inside}/base/bin" > python/pyvenv.cfg
ln -s {inside}/base/bin/{version} python/bin/python || exit
export TMPDIR={inside}/tmp PATH={inside}/python/bin:$PATH LD_LIBRARY_PATH={inside}/base/lib PYTHONUNBUFFERED=1
cd repository
python -m pytest -p no:cacheprovider -p tests.lab.conftest -o testpaths=tests/kernel {arguments}
echo "{ended}$?"
"""


class CannotBootError(Exception):
    """Why there is no machine, and what to do about it: one line."""


def kernel_image(boot: Path = Path("/boot"), modules: Path = Path("/lib/modules")) -> Path:
    """The newest image with a WireGuard module and the drivers that virtme-ng needs."""
    images = sorted(boot.glob("vmlinuz-*"), key=lambda image: image.stat().st_mtime, reverse=True)
    for image in images:
        version = image.name.removeprefix("vmlinuz-")
        # The cloud flavour lacks 9p, over which the machine sees our file system.
        if (modules / version / MODULE).exists() and "cloud" not in version:
            return image
    raise CannotBootError(
        f"no kernel with WireGuard in {boot} ({', '.join(image.name for image in images) or 'it has none'}): "
        "apt-get install linux-image-amd64"
    )


def command(arguments: list[str]) -> list[str]:
    """What boots the machine and runs pytest in it."""
    packages = [package for tool, package in PACKAGES.items() if not shutil.which(tool)]
    if packages:
        raise CannotBootError(f"missing tools: apt-get install {' '.join(packages)}")
    beside = Path(sys.prefix, "bin", "vng")
    vng = str(beside) if beside.exists() else shutil.which("vng")
    if vng is None:
        raise CannotBootError('no virtme-ng: pip install -e ".[dev]"')
    FAILURES.mkdir(exist_ok=True)
    LUGGAGE.parent.mkdir(exist_ok=True)
    pack(REPOSITORY, LUGGAGE)
    script = SCRIPT.format(
        inside=INSIDE,
        luggage=shlex.quote(str(LUGGAGE)),
        failures=shlex.quote(str(FAILURES)),
        version=VERSION,
        arguments=shlex.join(["-vv", "--timeout", str(TEST_TIME), *arguments]),
        ended=ENDED,
    )
    return [
        *(vng, "--run", str(kernel_image()), "--disable-kvm", "--cpus", CPUS, "--memory", MEMORY),
        *("--cwd", str(REPOSITORY), "--rwdir", str(FAILURES), "--", script),
    ]


def boot(machine: list[str]) -> int:
    """Run the machine, show what it says as it says it; pytest's exit code. CannotBootError without one."""
    # vng calls its own tools by name. Its output must be a pipe: a file it would open anew and overwrite.
    path = os.pathsep.join([str(Path(machine[0]).parent), os.environ.get("PATH", os.defpath)])
    running = subprocess.Popen(
        ["timeout", "--kill-after=5", str(TIME), *machine],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "PATH": path},
        start_new_session=True,
    )
    try:
        code, last = _show(running.stdout or ())
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)  # after Ctrl-C too, nothing of it stays
        running.wait()
    if code is None:
        raise CannotBootError(f"the machine ended without a result; the last it said: {last or 'nothing'}")
    return code


def _show(lines: Iterable[str]) -> tuple[int | None, str]:
    """Print what the machine says; the exit code in it, if there is one, and its last line before that."""
    last = ""
    for line in lines:
        shown = line.replace(str(INSIDE / "repository"), str(REPOSITORY))
        if shown.startswith(ENDED):
            return int(shown.removeprefix(ENDED)), last  # a machine that does not switch itself off is killed
        sys.stdout.write(shown)
        sys.stdout.flush()
        last = shown.strip() or last
    return None, last


def main() -> int:
    try:
        return boot(command(sys.argv[1:]))
    except CannotBootError as error:
        print(f"kernel lane: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # unwind as after Ctrl-C
    sys.exit(main())
