"""Lets atheris search for bytes that a target does not take: `python -m tests.fuzz [SECONDS [TARGET …]]`.

A process for each target, one after the other; what they find lies in `failures/fuzz/`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FINDINGS = REPOSITORY / "failures" / "fuzz"
NAMES = ("datagram", "lan", "userspace", "kernel", "configuration", "state", "control", "router", "dns")
SLOW = 30  # s one input may take: milliseconds, but a busy machine may hold a process up for seconds
MEMORY = 1024  # MiB
_LAST = re.compile(r"#(\d+)\s+DONE\s+cov: (\d+) ft: (\d+)")


def search(name: str, seconds: int) -> bool:
    """Run one target in a process of its own; whether nothing was found."""
    FINDINGS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="wgam-fuzz-") as corpus:
        arguments = (
            *(f"-max_total_time={seconds}", f"-timeout={SLOW}", f"-rss_limit_mb={MEMORY}", "-max_len=1500"),
            *(f"-artifact_prefix={FINDINGS}/{name}-", "-print_final_stats=1", corpus),
        )
        command = (sys.executable, "-m", "tests.fuzz.search", name, *arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    found = _LAST.search(done.stderr)
    if done.returncode or not found:
        print(f"{name:<14} FOUND SOMETHING:\n{done.stdout[-2000:]}{done.stderr[-3000:]}", flush=True)
        return False
    executions, edges, features = (int(each) for each in found.groups())
    print(f"{name:<14} {executions:>10,} executions, {edges} edges, {features} features", flush=True)
    return True


def main() -> int:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    clean = [search(name, seconds) for name in sys.argv[2:] or NAMES]
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())
