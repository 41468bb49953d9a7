"""The state file: what an earlier run learned. Written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .dnsmesh.kept import Kept, from_state, to_state
from .values import Endpoint, Key, key_text, parse_endpoint, parse_key

VERSION = 1
MAX_SIZE = 8 * 2**20  # bytes; a larger file is not ours
MAX_ENDPOINTS = 4  # kept of one member
MAX_SET_ASIDE = 20  # files; two programs at odds over one path shall not fill the disk


@dataclass(frozen=True, slots=True)
class Memory:
    """Endpoints of members, best first, the keys of peers the agent itself made, and who the DNS named."""

    added: frozenset[Key] = frozenset()
    endpoints: Mapping[Key, tuple[Endpoint, ...]] = field(default_factory=dict)
    dns: Kept | None = None


class Store:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._foreign = False  # what lies there is not ours, and could not be set aside

    def load(self) -> tuple[Memory, str | None]:
        """What is remembered, and a line for the operator if there is something to say."""
        try:
            raw = _read(self._path)
            return (_parse(raw) if raw else Memory()), None  # nothing in it: nothing to lose
        except FileNotFoundError:
            return Memory(), None
        except OSError as error:
            reason = f"cannot be read ({error.strerror})"
        except ValueError as error:
            reason = str(error)
        try:
            return Memory(), f"{self._path}: {reason}: set aside as {self._set_aside().name}"
        except OSError as error:
            self._foreign = True
            return Memory(), f"{self._path}: {reason}, nor set aside ({error.strerror}): nothing will be kept"

    def save(self, memory: Memory) -> None:
        """Replace the file. Raises OSError; the old file is then as it was.

        Only where the file is a mount point can a crash in the middle leave a damaged one behind.
        """
        if self._foreign:
            raise FileExistsError(errno.EEXIST, "there is a file of somebody else's in its place")
        data = _format(memory)
        temporary = self._path.with_name(self._path.name + ".new")
        try:
            _write(temporary, data)
            os.replace(temporary, self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            if error.errno != errno.EBUSY:
                raise
            _write(self._path, data)  # a mount point of its own cannot be renamed over
            return
        _sync_directory(self._path.parent)

    def _set_aside(self) -> Path:
        """Give the file another name. Raises OSError."""
        if not stat.S_ISREG(os.stat(self._path).st_mode):
            raise OSError(errno.EINVAL, "no regular file")  # to rename /dev/null would be a catastrophe
        for number in range(1, MAX_SET_ASIDE + 1):
            aside = self._path.with_name(f"{self._path.name}.corrupt-{number}")
            if not os.path.lexists(aside):
                break
        else:
            raise OSError(errno.EEXIST, f"{MAX_SET_ASIDE} others are already")
        try:
            os.rename(self._path, aside)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            if self._path.stat().st_size > MAX_SIZE:
                raise
            _write(aside, self._path.read_bytes())  # a mount point keeps its name: keep a copy
        return aside


def _read(path: Path) -> bytes:
    """At most one byte more than MAX_SIZE. Raises OSError, also for a pipe or device, which might block."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "no regular file")
        return file.read(MAX_SIZE + 1)


def _format(memory: Memory) -> bytes:
    state: dict[str, Any] = {
        "version": VERSION,
        "added": sorted(key_text(key) for key in memory.added),
        "endpoints": {
            key_text(key): [str(each) for each in kept[:MAX_ENDPOINTS]]
            for key, kept in sorted(memory.endpoints.items())
        },
    }
    if memory.dns:
        state["dns"] = to_state(memory.dns)
    return json.dumps(state, indent=1).encode() + b"\n"


def _parse(raw: bytes) -> Memory:
    """ValueError says in words what is wrong."""
    if len(raw) > MAX_SIZE:
        raise ValueError("too large for a state file")
    try:
        state = json.loads(raw)
    except (ValueError, RecursionError):
        raise ValueError("not a state file of this program") from None
    if not isinstance(state, dict) or not isinstance(state.get("version"), int):
        raise ValueError("not a state file of this program")
    if state["version"] != VERSION:
        raise ValueError(f"state file of version {state['version']}, this program knows {VERSION}")
    try:
        added = frozenset(parse_key(key) for key in state.get("added", []))
        endpoints = {parse_key(key): _endpoints(kept) for key, kept in state.get("endpoints", {}).items()}
        dns = from_state(state["dns"]) if "dns" in state else None
    except (ValueError, TypeError, AttributeError, KeyError):
        raise ValueError("damaged") from None
    return Memory(added, endpoints, dns)


def _endpoints(kept: Any) -> tuple[Endpoint, ...]:
    parsed = [parse_endpoint(text) for text in list(kept)[:MAX_ENDPOINTS]]
    if not all(isinstance(each, Endpoint) for each in parsed):
        raise ValueError("a name where an address belongs")
    return tuple(each for each in parsed if isinstance(each, Endpoint))


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
