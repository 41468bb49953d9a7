"""A real DNS server (NSD) in the middle of the internet, and zones that describe a mesh."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from .node import Node
from .shell import LabError, Namespace

ADDRESS = "44.128.0.53"
TTL = 30  # s, the least that agents honour
SILENCE = """
table inet silence {
  chain input { type filter hook input priority filter; meta l4proto { udp, tcp } th dport 53 drop; }
}
"""
START_TIME = 10.0  # s until it must answer

_CONFIG = """
server:
  ip-address: {address}
  username: ""
  chroot: ""
  zonesdir: "{folder}"
  database: ""
  pidfile: ""
  xfrdfile: ""
  zonelistfile: "{folder}/zone.list"
  server-count: 1
  rrl-ratelimit: 0
remote-control:
  control-enable: no
"""
_HEAD = """$TTL {ttl}
{zone}. IN SOA ns.{zone}. hostmaster.{zone}. {serial} 3600 600 86400 {ttl}
{zone}. IN NS ns.{zone}.
ns.{zone}. IN A {address}
"""


class NameServer:
    """Answers for all zones it is given; one whose records are None is configured and broken: SERVFAIL."""

    def __init__(self, ns: Namespace, folder: Path) -> None:
        self.zones: dict[str, list[str] | None] = {}
        self._ns = ns
        self._folder = folder / "dns"
        self._folder.mkdir()
        self._serial = 0
        self._process: subprocess.Popen[bytes] | None = None
        ns.ip(f"address add {ADDRESS}/32 dev lo")

    def start(self, through: Sequence[str] = ()) -> None:
        """`through` is put before the command, such as nice and its arguments."""
        config = _CONFIG.format(address=ADDRESS, folder=self._folder)
        for zone in self.zones:
            config += f'zone:\n  name: "{zone}"\n  zonefile: "{zone}.zone"\n'
        path, starts = self._folder / "nsd.conf", self._starts() + 1
        path.write_text(config)
        self._write()
        with self.log.open("ab") as log:
            self._process = self._ns.spawn(*through, "nsd", "-d", "-c", str(path), output=log)
        deadline = time.monotonic() + START_TIME
        while self._starts() < starts:
            if time.monotonic() > deadline:
                raise LabError(f"the name server does not start; its log: {self.log.read_text()}")
            time.sleep(0.01)

    @property
    def log(self) -> Path:
        return self._folder / "nsd.log"

    def publish(self) -> None:
        """Serve the zones as they are now."""
        self._write()
        self._signal(signal.SIGHUP)
        self._until_serves()

    def stop(self) -> None:
        self._signal(signal.SIGTERM)
        if self._process:
            self._process.wait()

    def fall_silent(self) -> None:
        """Let no question through, and none be refused, until `speak_again`."""
        self._ns.nft(SILENCE)

    def speak_again(self) -> None:
        # The chain stays: when one is unhooked, the kernel drops all packets that programs of the namespace
        # hold, so also those on their way on the trunk (nf_queue_nf_hook_drop, net/netfilter/core.c).
        self._ns.nft("flush table inet silence")

    def _write(self) -> None:
        self._serial += 1
        for zone, lines in self.zones.items():
            if lines is not None:
                head = _HEAD.format(zone=zone, serial=self._serial, ttl=TTL, address=ADDRESS)
                (self._folder / f"{zone}.zone").write_text(head + "\n".join(lines) + "\n")

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise LabError("the name server does not run")
        self._process.send_signal(number)

    def _starts(self) -> int:
        """How often it has started so far."""
        return self.log.read_text().count("nsd started") if self.log.exists() else 0

    def _until_serves(self) -> None:
        """Until all zones are of the new serial number."""
        deadline = time.monotonic() + START_TIME
        for zone in [zone for zone, lines in self.zones.items() if lines is not None]:
            while serial_of(self._ns, zone) != self._serial:
                if time.monotonic() > deadline:
                    raise LabError(f"the name server does not take {zone}: {self.log.read_text()}")
                time.sleep(0.02)


def serial_of(ns: Namespace, zone: str) -> int:
    """By a process of its own in the namespace, and so not through the code under test."""
    program = (
        "import sys, dns.message, dns.query; "
        "m = dns.query.udp(dns.message.make_query(sys.argv[1], 'SOA'), sys.argv[2], timeout=2); "
        "print(m.answer[0][0].serial)"
    )
    return int(ns.run(sys.executable, "-c", program, zone, ADDRESS, check=False) or 0)  # it may be reloading


def named(mesh: str, hosts: Iterable[str]) -> list[str]:
    """The records that make hosts members."""
    return [f'{mesh}. TXT "{host}"' for host in hosts]


def host_records(
    host: str, key: str, allowed: Iterable[str], endpoint: str | None = None, port: int | None = None
) -> list[str]:
    """The records of one host, as this scheme's users write them."""
    lines = [f'_wireguard.{host}. TXT "{key}"']
    lines += [f"_wireguard.{host}. {_kind(each)} {each}" for each in allowed]
    if endpoint:
        lines.append(f"{host}. {_kind(endpoint)} {endpoint}")
    if port:
        lines.append(f"_wireguard._udp.{host}. SRV 0 0 {port} {host}.")
    return lines


def node_records(node: Node, host: str, *, public: bool = False, extra: Iterable[str] = ()) -> list[str]:
    node.alias = host
    endpoint = str(node.box.outermost().address()) if public else None
    return host_records(host, node.key, [node.address, *extra], endpoint)


def _kind(address: str) -> str:
    return "AAAA" if ":" in address else "A"
