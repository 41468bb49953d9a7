"""A mesh of thousands without any network, and a control socket in a loop of its own: for tests of size."""

from __future__ import annotations

import gc
import json
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from random import Random
from typing import Any

import jsonschema

from wgautomesh.control import Control
from wgautomesh.link import Event
from wgautomesh.mesh import Mesh, Past
from wgautomesh.report import View
from wgautomesh.values import Device, Endpoint, Key, Member, Peer

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "control.schema.json").read_text())
NOW = 1000.0
OWN = Key(bytes(32))


def validate(answer: object, kind: str) -> None:
    """Raises jsonschema.ValidationError unless the answer is one of this kind."""
    jsonschema.validate(answer, {"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]})


def mesh_of(count: int, *, up: float = 0.9) -> tuple[Mesh, Device]:
    """A mesh that `count` members belong to, `up` of them connected, as it is after a while."""
    rng = Random(1)
    inside, outside = ip_address("10.64.0.1"), ip_address("44.0.0.1")
    places = [Endpoint(outside + number, 51820) for number in range(count)]
    members = [
        Member(Key(rng.randbytes(32)), inside + number, (place,), f"n{number}")
        for number, place in enumerate(places)
    ]
    mesh = Mesh(OWN, members, rng=rng, now=NOW, past=Past())
    peers = {
        each.key: Peer(
            each.key,
            endpoint=places[number],
            allowed_ips=each.networks,
            keepalive=20,
            handshake=1,
            rx_bytes=number * 1000,
        )
        for number, each in enumerate(members)
    }
    device = Device("wg0", 1, OWN, None, 51820, peers)
    for number, link in enumerate(mesh.links.values()):
        link.observe(replace(peers[link.member.key], rx_bytes=1000), NOW, looked=NOW)
        if number < int(up * count):
            link.happened(Event.REACHED, NOW)
            link.rtt = number / 1e5
            link.told = True
        else:
            link.happened(Event.CANDIDATE, NOW)
            link.attempt.rounds = 1
        for each in range(3):
            link.journal.note(f"event {each}", NOW)
    return mesh, device


def view_of(mesh: Mesh, device: Device, now: float = NOW + 5) -> View:
    members = tuple(link.member for link in mesh.links.values())
    return View("wg0", members, now, NOW, 1666, True, True, mesh, device)


class Loop:
    """The agent's loop with nothing in it but what is registered; `held` is its longest turn (s of CPU)."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        gc.freeze()  # what other tests left in this process is no work of the agent's
        self.held = 0.0
        self.spent = 0.0  # s of CPU, all turns together

    def until(self, done: Callable[[], bool], server: Any, within: float = 10.0) -> float:
        began = time.monotonic()
        while not done():
            assert time.monotonic() - began < within
            wait = max(0.0, min(server.next_due() - time.monotonic(), 0.01))
            ready = self.selector.select(wait)
            turn = time.thread_time()
            for key, _ in ready:
                key.data(time.monotonic())
            server.turn(time.monotonic())
            took = time.thread_time() - turn
            self.held, self.spent = max(self.held, took), self.spent + took
        return time.monotonic() - began


class Client:
    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))
        self.socket.setblocking(False)
        self.heard = bytearray()
        self.closed = False

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, **request: object) -> None:
        self.send(json.dumps(request).encode() + b"\n")

    def read(self, limit: int = 1 << 20) -> bool:
        """Take what is there; whether an answer is complete, or the connection over."""
        try:
            more = self.socket.recv(limit)
            self.heard += more
            self.closed = not more
        except BlockingIOError:
            pass
        except ConnectionError:
            self.closed = True
        return self.closed or b"\n" in self.heard

    def answer(self) -> dict[str, Any]:
        line, _, self.heard = self.heard.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found


def control_of(loop: Loop, path: Path, view: View) -> Control:
    control = Control(loop.selector, path, lambda _: view, lambda _: None)
    control.open()
    return control
