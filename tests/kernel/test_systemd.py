"""systemd runs the unit of examples/systemd as it is, on the real module, from start to stop."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..lab.lab import Expectation, Lab
from ..lab.node import REPOSITORY, SECRET, Node
from ..lab.shell import LabError
from ..lab.topology import Host, Topology
from ..lab.wg import KeyPair
from .__main__ import INSIDE
from .booted import Booted
from .conftest import NET_ADMIN, until_reached

UNIT, OTHER = "wgautomesh@mesh.service", "wgautomesh@other.service"
SHIPPED = REPOSITORY / "examples" / "systemd" / "wgautomesh@.service"
UNITS, SETTINGS = Path("/etc/systemd/system"), Path("/etc/wgautomesh")  # in the machine, in memory
PROGRAM = Path("/usr/local/bin/wgautomesh")
WAIT = 150.0  # s; Python's imports alone take up to 25 on an emulated processor with company, the watchdog 30
STATE = Path("/var/lib/private/wgautomesh/mesh/state")  # where StateDirectory= lies with DynamicUser=


@dataclass(slots=True)
class Served:
    """A hub with a plain agent, and alice, whose agent is systemd's."""

    lab: Lab
    systemd: Booted

    @property
    def alice(self) -> Node:
        return self.lab["alice"]

    @property
    def hub(self) -> Node:
        return self.lab["hub"]

    def until(self, name: str, value: str) -> None:
        try:
            self.lab.until(
                lambda: self.systemd.shows(UNIT, name) == value,
                within=WAIT,
                what=f"systemd shows {name}={value}",
            )
        except Expectation as failure:
            now = self.systemd.shows(UNIT, name)
            raise LabError(f"{failure}, but {now}; the journal:\n{self.systemd.journal()}") from None

    def write(self, extra: str = "") -> None:
        """Alice's configuration, with more at its end."""
        self.alice.configure(
            self.lab.nodes.values(),
            {"hub": self.hub.public_endpoint()},
            extra,
            gossip_secret=None,
            gossip_secret_file="$CREDENTIALS_DIRECTORY/gossip_secret",  # noqa: S106
            persist_file="/var/lib/wgautomesh/mesh/state",
        )
        shutil.copy(self.alice.config, SETTINGS / "mesh.toml")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Lab(Topology((Host("hub"), Host("alice")))) as lab:
        lab.configure()
        lab.start("hub")
        _install()
        with Booted(lab["alice"].box.ns, lab.folder) as systemd:
            served = Served(lab, systemd)
            served.write()
            systemd.systemctl("start", UNIT)  # returns when the agent said READY
            yield served


def _install() -> None:
    SETTINGS.mkdir()
    secret = SETTINGS / "mesh.secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    shutil.copy(SHIPPED, UNITS)
    PROGRAM.write_text(
        f"#!/bin/sh\nexport LD_LIBRARY_PATH={INSIDE}/base/lib PYTHONPATH={INSIDE}/repository\n"
        f'exec {INSIDE}/python/bin/python -m wgautomesh "$@"\n'
    )
    PROGRAM.chmod(0o755)


def test_the_unit_is_ready_reads_its_credential_and_connects(served: Served) -> None:
    served.until("StatusText", "1 of 1 peers connected")
    assert served.hub.link(served.alice)  # so it opened and sealed gossip with the secret
    until_reached(served.lab, served.hub, served.alice)
    status = Path("/proc", str(served.systemd.host_pid(UNIT)), "status").read_text()
    has = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in has["Uid"].split()
    assert {int(has[each], 16) for each in ("CapEff", "CapPrm", "CapBnd")} == {NET_ADMIN}
    assert has["Seccomp"] == "2"  # filtered


def test_a_reload_adds_a_peer_without_touching_the_link_that_stays(served: Served) -> None:
    served.until("StatusText", "1 of 1 peers connected")
    before = served.systemd.host_pid(UNIT), served.alice.handshake(served.hub)
    stranger = KeyPair.generate().public
    served.write(f'\n[[peers]]\npubkey = "{stranger}"\naddress = "10.77.9.9"\n')
    served.systemd.systemctl("reload", UNIT)
    served.until("StatusText", "1 of 2 peers connected")
    assert stranger in served.alice.wg.peers()
    (SETTINGS / "mesh.toml").write_text("interface = \n")
    served.systemd.systemctl("reload", UNIT)
    served.lab.until(
        lambda: "is not used: going on as before" in served.systemd.journal(),
        within=WAIT,
        what="the log says that the broken file is not used",
    )
    served.write()
    served.systemd.systemctl("reload", UNIT)
    served.until("StatusText", "1 of 1 peers connected")
    assert (served.systemd.host_pid(UNIT), served.alice.handshake(served.hub)) == before


def test_an_agent_that_stands_still_is_killed_by_the_watchdog_and_recovers(served: Served) -> None:
    before = served.systemd.host_pid(UNIT)
    os.kill(before, signal.SIGSTOP)
    served.until("NRestarts", "1")
    served.until("ActiveState", "active")
    served.until("StatusText", "1 of 1 peers connected")
    assert served.systemd.host_pid(UNIT) != before
    assert "watchdog" in served.systemd.journal().lower()


def test_another_mesh_comes_and_goes_and_leaves_this_ones_folder(served: Served) -> None:
    shutil.copy(SETTINGS / "mesh.secret", SETTINGS / "other.secret")
    (SETTINGS / "other.toml").write_text(
        'interface = "wg-other"\ngossip_secret_file = "$CREDENTIALS_DIRECTORY/gossip_secret"\n'
    )
    folders = Path("/proc", str(served.systemd.host_pid(UNIT)), "root/run/wgautomesh")
    served.systemd.systemctl("start", OTHER)  # ready without its interface: waiting for that is its work
    assert {each.name for each in folders.iterdir()} == {"mesh", "other"}
    served.systemd.systemctl("stop", OTHER)
    assert {each.name for each in folders.iterdir()} == {"mesh"}


def test_stopped_it_leaves_sessions_and_what_it_learned(served: Served) -> None:
    shaken, received = served.alice.handshake(served.hub), bytes_from_the_hub(served)
    served.systemd.systemctl("stop", UNIT)
    assert served.systemd.shows(UNIT, "Result") == "success"
    assert served.systemd.shows(UNIT, "ActiveState") == "inactive"
    until_reached(served.lab, served.alice, served.hub)
    assert served.alice.handshake(served.hub) >= shaken  # WireGuard may have renewed it meanwhile
    assert bytes_from_the_hub(served) >= received
    assert served.hub.key in STATE.read_text()
    assert STATE.stat().st_mode & 0o777 == 0o600


def bytes_from_the_hub(served: Served) -> int:
    """Counted anew for a peer that was made anew."""
    return served.alice.wg.peers()[served.hub.key].received


def test_started_again_it_reads_the_secret_that_is_there_now(served: Served) -> None:
    (SETTINGS / "mesh.secret").write_text("another\n")
    served.systemd.systemctl("start", UNIT)
    served.lab.until(
        lambda: "speaks with another gossip secret" in served.hub.output(),
        within=WAIT,
        what="the hub says that alice has another secret",
        between=(served.hub, served.alice),
    )
