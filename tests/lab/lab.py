"""A whole lab: a topology made real with a node on every host, and nothing left of it afterwards.

with Lab(topology.demo()) as lab:
    lab.configure(preset=["hub"])
    lab.start()
    lab.until(lambda: lab.meshed(), within=3, what="the mesh is whole")
"""

from __future__ import annotations

import atexit
import itertools
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from types import FrameType, TracebackType

from .node import Node, Setting
from .shell import Mark, sweep
from .topology import WIREGUARD_PORT, Topology
from .underlay import Underlay
from .wg import Interface, KeyPair, has_kernel_module

POLL = 0.02  # s between two looks at what we wait for
STARTS_WITHIN = 60.0  # s for all agents of a lab, on a busy machine


class Expectation(AssertionError):
    """Something did not happen in time. `nodes`: between whom."""

    def __init__(self, text: str, nodes: tuple[Node, ...]) -> None:
        super().__init__(text)
        self.nodes = nodes


class Lab:
    """Nodes by name (`lab["alice"]`), the underlay with its faults (`lab.net`), and ways to wait."""

    def __init__(self, topology: Topology, *, kernel: bool | None = None) -> None:
        self.topology = topology
        self.kernel = has_kernel_module() if kernel is None else kernel
        self.mark = Mark.fresh()
        self.nodes: dict[str, Node] = {}
        self.net: Underlay
        self.folder: Path

    def __enter__(self) -> Lab:
        sweep()
        signal.signal(signal.SIGTERM, _leave)
        signal.signal(signal.SIGHUP, _leave)
        atexit.register(self.close)
        try:
            self.folder = self.mark.folder()
            self.net = Underlay(self.topology, self.mark)
            for number, host in enumerate(self.topology.hosts(), 1):
                address = f"{self.topology.mesh[number]}/{self.topology.mesh.prefixlen}"
                self.nodes[host.name] = self._node(host.name, host.name, address, host.port)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def close(self) -> None:
        """Remove everything, whatever state it is in. Further Ctrl-C have to wait until that is done."""
        with _undisturbed():
            atexit.unregister(self.close)
            if hasattr(self, "net"):
                self.net.close()
            for node in self.nodes.values():
                for process in (node.agent, node.wg.process):
                    if process:
                        process.wait()
            self.mark.remove_files()

    def add(self, name: str, on: str, address: str) -> Node:
        """One more node on a host that has one: another interface, with its own port, for another mesh."""
        node = self.nodes[name] = self._node(name, on, address, WIREGUARD_PORT + len(self.nodes))
        return node

    def pairs(self, names: Iterable[str] = ()) -> list[tuple[Node, Node]]:
        """All pairs of all (or of these) nodes, each once."""
        return list(itertools.combinations([self[name] for name in names] or self.nodes.values(), 2))

    def configure(self, preset: Iterable[str] = ("hub",), **settings: Setting) -> None:
        """One file for all nodes: every node a member, endpoints of `preset` only.

        Where the router opens ports, the node asks for any, unless `settings` say otherwise.
        """
        endpoints = {name: self[name].public_endpoint() for name in preset}
        for node in self.nodes.values():
            opens = node.box.above and node.box.above.gateway
            own: dict[str, Setting] = {"upnp_forward_external_port": 0} if opens else {}
            node.configure(self.nodes.values(), endpoints, **(own | settings))

    def start(self, *names: str) -> None:
        for node in [self[name] for name in names] or self.nodes.values():
            node.start()

    def path(self, one: Node, other: Node) -> str | None:
        """How packets go between two nodes, by WireGuard's word: "LAN", "direct", "mapped", or None.

        LAN: both use the other's own address in the network they share. Direct: each uses an address at which
        the other's site is seen from outside. Mapped: so, and a port there is one that the router opened.
        None: at least one end has no session, or a wrong endpoint.
        """
        ways = {_way(one, other), _way(other, one)}
        if ways == {"direct", "mapped"}:
            return "mapped"
        return ways.pop() if len(ways) == 1 else None

    # -- waiting --------------------------------------------------------------------------------------

    def until(
        self, happened: Callable[[], object], *, within: float, what: str, between: tuple[Node, ...] = ()
    ) -> float:
        """Wait until something is so; the s it took. Expectation, naming `what`, when it takes longer."""
        begin = time.monotonic()
        while not happened():
            if time.monotonic() - begin > within:
                raise Expectation(f"not within {within:g} s: {what}", between)
            time.sleep(POLL)
        return time.monotonic() - begin

    def until_running(self) -> None:
        """Wait until every started agent said that it configured WireGuard: what follows is protocol time."""
        members = [node for node in self.nodes.values() if node.started]
        self.until(
            lambda: all(node.configured_at() for node in members), within=STARTS_WITHIN, what="all agents run"
        )

    def until_connected(self, one: Node, other: Node, *, within: float) -> float:
        """Wait until both ends say that they are connected; s it took from now."""
        return self.until(
            lambda: one.link(other) and other.link(one),
            within=within,
            what=f"{one.name} and {other.name} are connected",
            between=(one, other),
        )

    def until_meshed(self, *names: str, within: float) -> float:
        """Wait until every pair of all (or of these) nodes is connected; s it took from now."""
        begin = time.monotonic()
        for one, other in self.pairs(names):
            self.until_connected(one, other, within=max(0.0, within - (time.monotonic() - begin)))
        return time.monotonic() - begin

    def check_pings(self, *names: str) -> None:
        """Every pair must answer pings in both directions: what counts is not what agents say."""
        for one, other in self.pairs(names):
            for here, there in ((one, other), (other, one)):
                if here.ping(there, count=3, within=5) is None:
                    raise Expectation(f"{here.name} gets no answer to pings from {there.name}", (one, other))

    def _node(self, name: str, on: str, address: str, port: int) -> Node:
        box, folder = self.net.boxes[on], self.folder / name
        folder.mkdir()
        folder.chmod(0o755)
        wg = Interface(
            box.ns,
            self.mark.interface(len(self.nodes) + 1),
            KeyPair.generate(),
            address,
            port,
            self.kernel,
            folder / "wireguard.log",
        )
        wg.create()
        return Node(name, box, wg, address.partition("/")[0], folder)


def _way(here: Node, there: Node) -> str | None:
    """The way in one direction, judged by the endpoint in use and a completed handshake."""
    peer = here.wg.peers().get(there.key)
    if peer is None or peer.endpoint is None or not peer.handshake:
        return None
    host, _, port = peer.endpoint.rpartition(":")
    ip = ip_address(host.strip("[]"))
    if here.box.above and here.box.above is there.box.above:
        return "LAN" if there.box.has(ip) else None
    if not any(box.has(ip) for box in there.box.upwards()):
        return None
    opens = there.box.above.gateway if there.box.above else None
    return "mapped" if opens and int(port) in opens.forwarded() else "direct"


def _leave(number: int, frame: FrameType | None) -> None:
    """SIGTERM and SIGHUP unwind like Ctrl-C, so that context managers clean up."""
    raise SystemExit(128 + number)


@contextmanager
def _undisturbed() -> Iterator[None]:
    try:
        before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals do not come here anyway
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
