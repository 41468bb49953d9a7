"""What the operator sees of a real mesh: status, and that it is so."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from ..unit.large import validate
from .conftest import Measured
from .lab import Lab
from .test_nasty import meshed
from .topology import Topology, demo, pair

LabOf = Callable[[Topology], Lab]
WITHIN = 30.0  # s


def test_status_shows_how_things_are(lab_of: LabOf) -> None:
    lab = lab_of(demo(delay=0.025))
    lab.configure(preset=["hub"])
    lab.start()
    lab.until_meshed(within=WITHIN)
    carol = lab["carol"]
    lab.until(lambda: _is_settled(carol.status()), within=WITHIN, what="all is known")
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
        assert row["state"] == "connected" and row["agent"] and not row["reason"]
        assert row["rtt"] < 0.2 and row["heard"] < 10 and row["rx_bytes"] and row["tx_bytes"]
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
        lambda: alice.ask("status")[0] == 3, within=5, what="the socket of the killed agent is replaced"
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
            sock.setblocking(False)
            sock.connect(str(alice.control))
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
    return status["gossip"]["in_step"] == 4 and all(each["rtt"] for each in status["peers"])
