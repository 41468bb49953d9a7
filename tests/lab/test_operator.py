"""What the operator sees of a real mesh: status, and that it is so."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from ..unit.large import validate
from .conftest import Measured
from .lab import Lab
from .node import SECRET
from .test_events import _reload
from .test_nasty import meshed
from .topology import Topology, demo, pair
from .wg import KeyPair

LabOf = Callable[[Topology], Lab]
WITHIN = 30.0  # s


def test_status_shows_how_things_are(lab_of: LabOf) -> None:
    lab = lab_of(demo(delay=0.025))
    lab.configure(preset=["hub"])
    lab.start()
    lab.until_meshed(within=WITHIN)
    carol = lab["carol"]
    lab.until(lambda: _is_settled(carol.status()), within=WITHIN, what="all is known and well")
    code, text = carol.ask("status")
    assert code == 0
    assert "4 of 4 connected" in text and "4 of 4 in step" in text and carol.key in text
    assert "NAT with one port" in text
    answer = carol.status()
    validate(answer, "status")
    assert answer["public"] == [lab["hub"].endpoint(carol)]
    for row in answer["peers"]:
        other = next(node for node in lab.nodes.values() if node.key == row["key"])
        assert (row["name"], row["address"]) == (other.name, other.address)
        assert re.sub("%[0-9]+", "", row["endpoint"]) == carol.endpoint(other)  # `wg` knows no link there
        assert row["path"] == lab.path(carol, other)
        assert row["agent"] and not row["reason"]
        assert row["heard"] < 10 and row["rx_bytes"] and row["tx_bytes"]
    code, text = carol.ask("explain", "dave")
    assert code == 0 and "in use" in text and "connected at" in text and "lan" in text
    code, text = carol.ask("explain", "--json", "hub")
    validate(json.loads(text), "explain")


def test_the_exit_code_tells_a_script(lab_of: LabOf) -> None:
    lab = meshed(lab_of(pair()))
    alice, bob = lab["alice"], lab["bob"]
    lab.until(lambda: alice.ask("status")[0] == 0, within=5, what="all connected")
    bob.kill()
    bob.wg.delete()
    lab.until(lambda: alice.ask("status")[0] == 3, within=WITHIN, what="one is missed", between=(alice, bob))
    assert alice.ask("explain", "nobody")[0] == 1
    alice.kill()
    code, text = alice.ask("status")
    assert code == 4 and "control.sock" in text
    alice.start()
    lab.until(
        lambda: alice.ask("status")[0] == 3, within=WITHIN, what="the socket of the killed agent is replaced"
    )
    alice.stop()
    assert not alice.control.exists()
    assert alice.ask("explain", "hub")[0] == 4


def test_hostile_clients_do_not_delay_the_agent(lab_of: LabOf, measured: Measured) -> None:
    lab = meshed(lab_of(pair()))
    alice, bob = lab["alice"], lab["bob"]
    with ExitStack() as stack:
        for number in range(64):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            sock.connect(str(alice.control))  # waits while the queue of new clients is full
            sock.setblocking(False)
            sock.send((b'{"ask": "status"}\n' * 100, b"x" * 8000, os.urandom(8000), b"")[number % 4])
            time.sleep(0.01)
        began = time.monotonic()
        code, _ = alice.ask("status")
        measured("status beside 64 bad clients, with Python's start", time.monotonic() - began, bound=2)
        assert code == 0
        before = alice.cpu()
        time.sleep(2)
        measured("CPU while they stay", (alice.cpu() - before) / 2 * 100, bound=5, unit="%")
    assert alice.ping(bob) is not None and not alice.says("silent")


def _is_settled(status: dict[str, Any]) -> bool:
    well = [each for each in status["peers"] if each["state"] == "connected" and 0 < (each["rtt"] or 0) < 0.2]
    return bool(status["gossip"]["in_step"] == len(well) == 4)


def test_the_graph_shows_the_whole_mesh(lab_of: LabOf, measured: Measured) -> None:
    lab = lab_of(demo(delay=0.025))
    lab.configure(preset=["hub"])
    lab.start()
    lab.until_meshed(within=WITHIN)
    alice, dave = lab["alice"], lab["dave"]
    began = time.monotonic()
    code, text = alice.ask("graph", "--format", "json")
    measured("graph of five nodes, with Python's start", time.monotonic() - began, bound=2)
    assert code == 0
    answer = json.loads(text)
    validate(answer, "graph")
    assert len(answer["links"]) == 10 and all(each["connected"] for each in answer["links"])
    for link in answer["links"]:
        one, other = (next(node for node in lab.nodes.values() if node.key == key) for key in link["between"])
        assert link["path"] == lab.path(one, other)
    dave.stop()
    lab.until(
        lambda: alice.ask("graph", "--format", "json")[1].count('"answered": false') == 1,
        within=WITHIN,
        what="the one without agent is silent",
    )
    target = alice.folder / "mesh.svg"
    assert alice.ask("graph", "--output", str(target)) == (0, "")
    assert target.read_text().startswith("<svg") and "dave" in target.read_text()


def test_nothing_secret_is_said_whatever_is_asked(lab_of: LabOf) -> None:
    lab = lab_of(pair())
    alice, bob = lab["alice"], lab["bob"]
    shared = KeyPair.generate().private
    for one, other in ((alice, bob), (bob, alice)):
        one.wg.set("peer", other.key, "preshared-key", "/dev/stdin", stdin=shared)
    lab.configure(preset=["hub"])
    lab["hub"].start(level="trace")
    bob.start(level="trace")
    alice.extra = ("--log-format", "json")
    alice.start(level="trace")
    lab.until(
        lambda: alice.ask("status")[0] == bob.ask("status")[0] == 0, within=WITHIN, what="all connected"
    )
    _reload(alice)
    commands = (
        ["status"],
        ["status", "--json"],
        ["explain", "bob"],
        ["graph"],
        ["graph", "--format", "json"],
    )
    said = "".join(alice.ask(*command)[1] for command in commands)
    for node in lab.nodes.values():
        node.stop()
        said += node.output()
    events = [json.loads(line) for line in alice.output().splitlines()]
    assert {"info", "debug", "trace"} <= {each["level"] for each in events}
    assert any(each.get("peer") == bob.key for each in events)
    assert len(said) > 10_000
    for secret in (shared, *(node.wg.keys.private for node in lab.nodes.values())):
        raw = base64.b64decode(secret)
        for form in (secret, raw.hex(), repr(raw)[2:-1], base64.urlsafe_b64encode(raw).decode()):
            assert form not in said
    assert SECRET not in said


def test_figures_are_there_to_be_scraped(lab_of: LabOf, measured: Measured) -> None:
    lab = lab_of(pair())
    alice = lab["alice"]
    lab.configure(preset=["hub"], metrics_listen="127.0.0.1:9586")
    lab.start()
    lab.until_meshed(within=WITHIN)
    before = alice.memory()
    script = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9586/metrics').read().decode())"
    connected = 'wgautomesh_peers{state="connected"} 2.0'
    lab.until(
        lambda: connected in alice.box.ns.run(sys.executable, "-c", script), within=WITHIN, what=connected
    )
    text = alice.box.ns.run(sys.executable, "-c", script)
    assert 'wgautomesh_gossip_datagrams_total{direction="received",kind="Answer"}' in text
    assert "wgautomesh_connect_seconds_count 2.0" in text
    measured("memory with metrics", before / 2**20, bound=60, unit="MiB")
