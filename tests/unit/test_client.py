"""Who asks the agent, where many do."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path

import pytest

from wgautomesh.client import NoAgent, ask


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "wg0.sock"


@pytest.fixture
def crowd(path: Path) -> Iterator[tuple[socket.socket, int]]:
    """A listening socket that lets nobody in for now, and how many wait to be let in: no more can."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(path))
        listening.listen(1)
        waiting = 0
        while True:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            try:
                client.connect(str(path))
            except BlockingIOError:
                break
            waiting += 1
        yield listening, waiting


def test_one_more_waits_until_it_is_let_in(path: Path, crowd: tuple[socket.socket, int]) -> None:
    listening, waiting = crowd
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, path, {"ask": "status"})
        assert not wait([asked], timeout=0.2).done
        for _ in range(waiting):
            listening.accept()[0].close()
        client, _ = listening.accept()
        with client:
            assert client.recv(100) == b'{"ask": "status"}\n'
            client.sendall(b'{"version": 1, "all": "well"}\n')
        assert asked.result() == {"version": 1, "all": "well"}


def test_but_not_for_ever(path: Path, crowd: tuple[socket.socket, int]) -> None:
    with pytest.raises(NoAgent, match="no answer within 0 s"):
        ask(path, {"ask": "status"}, timeout=0.2)
