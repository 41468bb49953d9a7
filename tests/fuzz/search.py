"""One target under atheris: `python -m tests.fuzz.search TARGET [libFuzzer's arguments] CORPUS`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["wgautomesh", "dns"]):
    from .targets import TARGETS


def main() -> None:
    target = TARGETS[sys.argv.pop(1)]
    corpus = Path(sys.argv[-1])
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    logging.disable(logging.CRITICAL)
    atheris.Setup(sys.argv, target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
