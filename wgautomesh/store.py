"""The state file: what an earlier run learned. Written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .values import Endpoint, Key, key_text, parse_endpoint, parse_key

VERSION = 1
MAX_SIZE = 8 * 2**20  # bytes; a larger file is not ours
MAX_ENDPOINTS = 4  # kept of one member
SET_ASIDE = 10  # files set aside before the last is overwritten


@dataclass(frozen=True, slots=True)
class Memory:
    """Endpoints of members, best first, and the keys of peers that the agent itself made."""

    added: frozenset[Key] = frozenset()
    endpoints: Mapping[Key, tuple[Endpoint, ...]] = field(default_factory=dict)


class Store:
    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> tuple[Memory, str | None]:
        """What is remembered, and a line for the operator if there is something to say."""
        try:
            with self._path.open("rb") as file:
                raw = file.read(MAX_SIZE + 1)
        except FileNotFoundError:
            return Memory(), None
        except OSError as error:
            return Memory(), f"{self._path}: cannot be read ({error.strerror}): starting without it"
        try:
            return _parse(raw), None
        except ValueError as error:
            return Memory(), f"{self._path}: {error}: {self._set_aside()}"

    def save(self, memory: Memory) -> None:
        """Replace the file. Raises OSError; the old file is then as it was."""
        state = {
            "version": VERSION,
            "added": sorted(key_text(key) for key in memory.added),
            "endpoints": {
                key_text(key): [str(each) for each in kept[:MAX_ENDPOINTS]]
                for key, kept in sorted(memory.endpoints.items())
            },
        }
        data = json.dumps(state, indent=1).encode() + b"\n"
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

    def _set_aside(self) -> str:
        for number in range(1, SET_ASIDE + 1):
            aside = self._path.with_name(f"{self._path.name}.aside-{number}")
            if number == SET_ASIDE or not aside.exists():
                break
        try:
            os.replace(self._path, aside)
        except OSError as error:
            return f"it cannot be set aside ({error.strerror}) and will be overwritten"
        return f"set aside as {aside.name}"


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
    except (ValueError, TypeError, AttributeError):
        raise ValueError("damaged") from None
    return Memory(added, endpoints)


def _endpoints(kept: Any) -> tuple[Endpoint, ...]:
    parsed = [parse_endpoint(text) for text in list(kept)[:MAX_ENDPOINTS]]
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
