"""The lab's own hand on WireGuard: makes interfaces, kernel or userspace, and reads them with `wg`.

Deliberately not the package's code: what the lab believes must not come from what it tests.
"""

from __future__ import annotations

import base64
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nacl.public import PrivateKey

from .shell import UAPI, LabError, Namespace, run

START_TIME = 10.0  # s until wireguard-go must have opened its socket
MTU = 1280  # bytes; fits through anything the lab builds


@dataclass(frozen=True, slots=True)
class KeyPair:
    private: str  # base64, as `wg` writes keys
    public: str

    @classmethod
    def generate(cls) -> KeyPair:
        key = PrivateKey.generate()
        return cls(*(base64.b64encode(bytes(each)).decode() for each in (key, key.public_key)))


@dataclass(frozen=True, slots=True)
class PeerView:
    """A peer as `wg show IFACE dump` prints it; `handshake` is in s since the epoch, 0 for never."""

    key: str
    preshared: bool
    endpoint: str | None
    allowed: tuple[str, ...]
    handshake: int
    received: int
    sent: int
    keepalive: str


def has_kernel_module() -> bool:
    """Whether this kernel makes WireGuard interfaces (loading the module if there is one)."""
    probe = "wgam-probe"
    made = subprocess.run(["ip", "link", "add", probe, "type", "wireguard"], capture_output=True, check=False)
    if made.returncode == 0:
        run(["ip", "link", "del", probe])
    return made.returncode == 0


@dataclass(slots=True)
class Interface:
    """One WireGuard interface in a namespace; `kernel` False runs wireguard-go for it."""

    ns: Namespace
    name: str
    keys: KeyPair
    address: str  # with the mesh's prefix length
    port: int
    kernel: bool
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def create(self) -> None:
        """Bring the interface up with its key, port and address, and without peers."""
        if self.kernel:
            self.ns.ip(f"link add {self.name} type wireguard")
        else:
            with self.log.open("ab") as log:
                self.process = self.ns.spawn(
                    "wireguard-go", "-f", self.name, output=log, env={"LOG_LEVEL": "error"}
                )
            self._until(self._listens, "open its socket")
        self.set("private-key", "/dev/stdin", "listen-port", str(self.port), stdin=self.keys.private)
        self.ns.ip(
            f"address add {self.address} dev {self.name}" + (" nodad" if ":" in self.address else ""),
            f"link set {self.name} mtu {MTU} up",
        )

    def delete(self) -> None:
        """Remove the interface; WireGuard remembers nothing of it."""
        if self.kernel:
            self.ns.ip(f"link del {self.name}")
        elif self.process:
            self.process.terminate()
            try:
                self.process.wait(START_TIME)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
            self.socket.unlink(missing_ok=True)

    @property
    def socket(self) -> Path:
        return UAPI / f"{self.name}.sock"

    def set(self, *words: str, stdin: str = "") -> None:
        self.ns.run("wg", "set", self.name, *words, stdin=stdin)

    def peers(self) -> dict[str, PeerView]:
        """All peers by key; none while there is no interface."""
        _, *lines = self.ns.run("wg", "show", self.name, "dump", check=False).splitlines() or [""]
        return {peer.key: peer for peer in map(_peer, lines)}

    def public_dump(self) -> str:
        """`wg show` for a failure's folder: private and preshared keys are left out."""
        return self.ns.run("wg", "show", self.name, check=False)  # unlike `dump`, hides them

    def _listens(self) -> bool:
        """Whether the socket takes connections: `wg` removes one that exists and does not yet."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            return asking.connect_ex(str(self.socket)) == 0

    def _until(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START_TIME
        while not ready():
            if time.monotonic() > deadline or (self.process and self.process.poll() is not None):
                raise LabError(f"wireguard-go did not {what}; its log: {self.log.read_text().strip()}")
            time.sleep(0.005)


def _peer(line: str) -> PeerView:
    key, preshared, endpoint, allowed, handshake, received, sent, keepalive = line.split("\t")
    return PeerView(
        key,
        preshared != "(none)",
        None if endpoint == "(none)" else endpoint,
        () if allowed == "(none)" else tuple(allowed.split(",")),
        int(handshake),
        int(received),
        int(sent),
        keepalive,
    )
