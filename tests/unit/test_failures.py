"""What breaks outside must not break us: WireGuard's errors, and death in the middle of a write."""

from __future__ import annotations

import errno
import itertools
import logging
import multiprocessing
import os
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import pytest

from wgautomesh import interface
from wgautomesh.effects import Admit
from wgautomesh.interface import RETRY, Interface
from wgautomesh.store import Memory, Store
from wgautomesh.values import Device, Endpoint, Key, Peer, parse_endpoint

KEY = Key(b"k" * 32)
KILLS = 100
PASSING = (
    errno.EBUSY,
    errno.ENOBUFS,
    errno.EPERM,
    errno.ENOMEM,
    errno.EMFILE,
    errno.ETIMEDOUT,
    errno.EBADMSG,
)


class Broken:
    """A WireGuard that fails with `code` while there is one."""

    def __init__(self) -> None:
        self.code = 0
        self.reads = 0

    def _fail(self) -> None:
        if self.code:
            raise OSError(self.code, os.strerror(self.code))

    def read(self) -> Device:
        self.reads += 1
        self._fail()
        return Device("wg0", 1, KEY, b"p" * 32, 51820)

    def add(self, *peers: Peer) -> None:
        self._fail()

    def close(self) -> None:
        pass


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Broken:
    wireguard = Broken()
    monkeypatch.setattr(interface, "open_wireguard", lambda name: wireguard)
    monkeypatch.setattr(interface, "_is_up", lambda name: True)
    return wireguard


@pytest.mark.parametrize("code", PASSING, ids=lambda code: errno.errorcode[code])
def test_an_error_that_may_pass_is_said_once_and_tried_again_each_second(
    broken: Broken, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    lost: list[float] = []
    held = Interface("wg0", lost.append)
    assert held.turn(0.0)
    broken.code, broken.reads = code, 0
    now = 1.0
    held.look(now)
    while now < 61.0:
        assert held.turn(now) is None
        held.configure(Admit((Peer(KEY),)), now)
        now = max(now + 0.01, held.next_due())
    assert 55 <= broken.reads <= 60 / RETRY + 5
    assert len(caplog.records) == 2 and not lost  # reading, and configuring
    assert all(each.levelno == logging.ERROR for each in caplog.records)
    broken.code = 0
    assert held.turn(now)


@pytest.mark.parametrize("code", [errno.ENODEV, errno.ENXIO], ids=lambda code: errno.errorcode[code])
def test_an_interface_that_is_gone_is_waited_for(
    broken: Broken, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    lost: list[float] = []
    held = Interface("wg0", lost.append)
    assert held.turn(0.0)
    broken.code = code
    held.look(1.0)
    assert held.turn(1.0) is None
    assert lost == [1.0] and "waiting" in caplog.text
    broken.code = 0
    assert held.turn(2.0)


def waits(seconds: float) -> None:
    time.sleep(seconds)


def works(seconds: float) -> None:
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass


@pytest.mark.parametrize(("takes", "least", "most"), [(waits, 0.0, 2.0), (works, 6.0, float("inf"))])
def test_reads_are_rare_when_they_cost_much_but_not_when_the_machine_is_busy(
    broken: Broken, takes: Callable[[float], None], least: float, most: float
) -> None:
    """Of 20 reads, the time in which the last may begin; each takes 20 ms."""
    read = broken.read

    def slowly() -> Device:
        takes(0.02)
        return read()

    broken.read = slowly  # type: ignore[method-assign]
    held, now = Interface("wg0", lambda at: None), 0.0
    for _ in range(20):
        held.look(now)
        now = max(now, held.next_due())
        assert held.turn(now)
    assert least <= now <= most


def test_without_rights_from_the_start_there_is_no_point_in_waiting(broken: Broken) -> None:
    broken.code = errno.EPERM
    with pytest.raises(PermissionError):
        Interface("wg0", lambda at: None).turn(0.0)


@pytest.mark.long
def test_whenever_we_are_killed_the_state_is_readable_and_recent(tmp_path: Path) -> None:
    """The child saves on and on and tells the number of each state that is safe; we kill it anywhere."""
    path, rng = tmp_path / "state", Random(1)
    children = multiprocessing.get_context("forkserver")
    children.set_forkserver_preload([__name__])
    begun = 0
    for _ in range(KILLS):
        told, tell = children.Pipe(duplex=False)
        child = children.Process(target=_save_on_and_on, args=(path, begun + 1, tell), daemon=True)
        child.start()
        tell.close()
        safe = told.recv()  # it is at work
        time.sleep(rng.uniform(0.0, 0.004))
        child.kill()
        child.join()
        with suppress(EOFError):  # what it told before it died
            while True:
                safe = told.recv()
        memory, warning = Store(path).load()
        assert warning is None
        kept = memory.endpoints[KEY][0].port
        assert kept in (safe, safe + 1)
        assert kept > begun
        begun = kept
        assert len(list(tmp_path.iterdir())) <= 2  # it, and at most one that was not finished


def _save_on_and_on(path: Path, first: int, tell: Connection) -> None:
    for number in itertools.count(first):
        Store(path).save(_state(number))
        tell.send(number)


def _state(number: int) -> Memory:
    endpoint = parse_endpoint(f"44.128.2.2:{number}")
    assert isinstance(endpoint, Endpoint)
    others = {Key(each.to_bytes(32, "big")): (endpoint,) for each in range(100)}
    return Memory(frozenset(others), {**others, KEY: (endpoint,)})
