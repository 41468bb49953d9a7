"""The agent, whose every third errand to WireGuard fails, with another error each time: for tests only."""

from __future__ import annotations

import errno
import itertools
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from wgautomesh.cli import main
from wgautomesh.wireguard.kernel import KernelWireGuard
from wgautomesh.wireguard.uapi import UserspaceWireGuard

ERRORS = (errno.EBUSY, errno.EPERM, errno.ENOBUFS, errno.ENODEV, errno.ENOMEM)
EVERY = 3


def now_and_then(errand: Callable[..., Any], count: itertools.count[int]) -> Callable[..., Any]:
    @wraps(errand)
    def failing(*arguments: Any, **more: Any) -> Any:
        number = next(count)
        if number and number % EVERY == 0:  # without rights from the beginning, an agent ends
            code = ERRORS[number // EVERY % len(ERRORS)]
            raise OSError(code, os.strerror(code))
        return errand(*arguments, **more)

    return failing


if __name__ == "__main__":
    counting: itertools.count[int] = itertools.count()
    for kind in (KernelWireGuard, UserspaceWireGuard):
        for name in ("read", "add", "update", "readd", "remove"):
            setattr(kind, name, now_and_then(getattr(kind, name), counting))
    sys.exit(main())
