"""A node of the lab: one host with its WireGuard interface, its configuration and its agent.

What the agent claims (its log) and what is so (WireGuard, pings) are asked for separately.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from . import agentlog
from .agentlog import Change, Line
from .boxes import Box
from .pinger import Pinger
from .shell import LabError
from .wg import Interface

REPOSITORY = Path(__file__).parents[2]
SECRET = "a secret of the lab"  # noqa: S105
GOSSIP_PORT = 1666
STOP_TIME = 5.0  # s an agent has to end after SIGTERM
TICK = 1_000_000_000  # ns in a second

Setting: TypeAlias = str | int | bool | list[str] | None


@dataclass(slots=True)
class Node:
    name: str
    box: Box
    wg: Interface
    address: str  # in the mesh
    folder: Path
    agent: subprocess.Popen[bytes] | None = None
    started: float = 0.0  # wall clock at the agent's last start
    module: str = "wgautomesh"  # what is run as the agent
    extra: tuple[str, ...] = ()  # further options for it
    settings: dict[str, Setting] = field(default_factory=dict)  # as last written
    alias: str = ""  # what others call it who know it from DNS
    options: Sequence[str] = ()  # of the command line, in place of the configuration

    @property
    def key(self) -> str:
        return self.wg.keys.public

    @property
    def config(self) -> Path:
        return self.folder / "wgautomesh.toml"

    @property
    def state(self) -> Path:
        return self.folder / "state.json"

    @property
    def control(self) -> Path:
        return self.folder / "control.sock"

    @property
    def log(self) -> Path:
        return self.folder / "agent.log"

    def public_endpoint(self) -> str:
        """Where this node is reached from the trunk, if its router lets anyone in."""
        ip = self.box.outermost().address()
        return f"{ip}:{self.wg.port}" if ip.version == 4 else f"[{ip}]:{self.wg.port}"

    # -- the agent ------------------------------------------------------------------------------------

    def configure(
        self,
        members: Iterable[Node],
        preset: Mapping[str, str] | None = None,
        extra: str = "",
        /,
        **settings: Setting,
    ) -> None:
        """Write the configuration: these members, endpoints of those named in `preset`, other keys by name.

        A setting of None leaves the key out. `extra` is appended as it is.
        """
        self.settings = {
            "interface": self.wg.name,
            "gossip_port": GOSSIP_PORT,
            "gossip_secret": SECRET,
            "persist_file": str(self.state),
            "lan_discovery": True,
            "control_socket": str(self.control),
            **settings,
        }
        text = "".join(
            f"{key} = {_toml(value)}\n" for key, value in self.settings.items() if value is not None
        )
        for member in members:
            text += f'\n[[peers]]\nname = "{member.name}"\n'
            text += f'pubkey = "{member.key}"\naddress = "{member.address}"\n'
            if preset and member.name in preset:
                text += f'endpoint = "{preset[member.name]}"\n'
        self.config.write_text(text + extra)

    def start(self, *, through: Sequence[str] = (), level: str = "info") -> None:
        """Start the agent; `through` is put before the command (setpriv and the like)."""
        if self.agent and self.agent.poll() is None:
            raise LabError(f"{self.name}'s agent runs already")
        self.started = time.time()
        with self.log.open("ab") as log:
            self.agent = self.box.ns.spawn(*self._command(through, level), output=log, env=self._environment)

    def run_another(self, *through: str) -> tuple[int, str]:
        """Run one more agent with this configuration to its end: exit code and all it wrote."""
        with (self.folder / "another.log").open("w+b") as output:
            another = self.box.ns.spawn(*self._command(through, "info"), output=output, env=self._environment)
            try:
                code = another.wait(STOP_TIME)
            except subprocess.TimeoutExpired:
                another.kill()
                another.wait()
                raise LabError(f"another agent on {self.name} did not end by itself") from None
            output.seek(0)
            return code, output.read().decode()

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """End the agent; its exit code. LabError if it does not end."""
        if self.agent is None:
            raise LabError(f"{self.name} has no agent")
        self.agent.send_signal(with_signal)
        try:
            return self.agent.wait(STOP_TIME)
        except subprocess.TimeoutExpired:
            self.agent.kill()
            self.agent.wait()
            raise LabError(
                f"{self.name}'s agent did not end within {STOP_TIME:.0f} s of {with_signal.name}"
            ) from None
        finally:
            self.agent = None

    def reload(self) -> None:
        """Have the agent read its configuration again."""
        if self.agent is None:
            raise LabError(f"{self.name} has no agent")
        self.agent.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """SIGKILL: no goodbye, nothing saved."""
        self.stop(signal.SIGKILL)

    def runs(self) -> bool:
        return self.agent is not None and self.agent.poll() is None

    def pause(self) -> None:
        """Suspend the node as a closed lid would: agent and userspace WireGuard stand still."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        for process in (self.agent, self.wg.process):
            if process:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, number)

    def recreate_interface(self) -> None:
        """Delete the WireGuard interface and make it anew, with key, port and address but no peers."""
        self.wg.delete()
        self.wg.create()

    # -- what the agent says --------------------------------------------------------------------------

    def output(self) -> str:
        """All that the agents of this node ever wrote, one after the other."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def lines(self) -> list[Line]:
        return agentlog.lines(self.output(), now=time.time())

    def says(self, text: str) -> bool:
        return text in self.output()

    def configured_at(self) -> float | None:
        """Wall clock when the agent, since its last start, first said that WireGuard is configured."""
        return next((each.at for each in self._since_start() if each.is_configured), None)

    def changes(self, other: Node) -> list[Change]:
        """What became of the link to another node since this agent's start, by its own words."""
        names = (other.name, other.alias)
        return [each for each in agentlog.changes(self._since_start()) if each.name in names]

    def link(self, other: Node) -> Change | None:
        """The last word about the link to another node, if it is "connected"."""
        changes = self.changes(other)
        return changes[-1] if changes and changes[-1].what == "connected" else None

    def ask(self, *command: str, columns: int = 80) -> tuple[int, str]:
        """Run `wgautomesh COMMAND` on this node: exit code, and what it shows."""
        program = (sys.executable, "-m", "wgautomesh", *command, "--socket", str(self.control))
        environment = {**os.environ, **self._environment, "COLUMNS": str(columns)}
        done = subprocess.run(
            program, capture_output=True, text=True, check=False, timeout=30, env=environment, cwd="/"
        )
        return done.returncode, done.stdout + done.stderr

    def status(self) -> dict[str, Any]:
        """What `wgautomesh status --json` says, {} while no agent answers."""
        code, text = self.ask("status", "--json")
        found: dict[str, Any] = json.loads(text) if code in (0, 3) else {}
        return found

    def reason(self, other: Node) -> str | None:
        """The reason that `status` gives for another node, "" if all is well with it, None without agent."""
        peers = self.status().get("peers", [])
        return next((each["reason"] for each in peers if each["key"] == other.key), None)

    def _command(self, through: Sequence[str], level: str) -> tuple[str, ...]:
        return (
            *through,
            sys.executable,
            "-m",
            self.module,
            "--log-level",
            level,
            *self.extra,
            *(self.options or (str(self.config),)),
        )

    @property
    def _environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}

    def _since_start(self) -> list[Line]:
        return [each for each in self.lines() if each.at >= self.started - 0.001]

    # -- what is so -----------------------------------------------------------------------------------

    def endpoint(self, other: Node) -> str | None:
        """Where WireGuard sends packets for the other node."""
        peer = self.wg.peers().get(other.key)
        return peer.endpoint if peer else None

    def handshake(self, other: Node) -> int:
        """When WireGuard last shook hands with the other node, s since the epoch; 0: never."""
        peer = self.wg.peers().get(other.key)
        return peer.handshake if peer else 0

    def ping(self, other: Node, *, count: int = 1, within: float = 1.0) -> float | None:
        """The best RTT in s of some pings through the mesh; None if none was answered."""
        text = self.box.ns.run(
            *("ping", "-n", "-q", "-i", "0.05", "-c", str(count), "-W", str(within), other.address),
            check=False,
        )
        _, found, rest = text.partition("min/avg/max/mdev = ")
        return float(rest.split("/")[0]) / 1000 if found else None

    def pinging(self, other: Node, *, rate: float = 10.0) -> Pinger:
        return Pinger(
            self.box.ns, other.address, self.folder / f"ping-{other.name}-{time.monotonic_ns()}", rate=rate
        )

    # -- what it costs --------------------------------------------------------------------------------

    def memory(self) -> int:
        """Bytes of memory the agent has resident."""
        status = self._proc("status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def cpu(self) -> float:
        """Seconds of CPU the agent and its threads have used so far (scheduler's account, to the ns)."""
        threads = self._proc("task").iterdir()
        return sum(int((each / "schedstat").read_text().split()[0]) for each in threads) / TICK

    def _proc(self, name: str) -> Path:
        if self.agent is None:
            raise LabError(f"{self.name} has no agent")
        return Path("/proc", str(self.agent.pid), name)


def _toml(value: Setting) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    return str(value) if isinstance(value, int) else f'"{value}"'
