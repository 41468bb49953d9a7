"""A router that opens ports on request: miniupnpd, with the nftables chains it fills.

What the router has opened is read from nftables, whatever miniupnpd or anybody else claims.
"""

from __future__ import annotations

import re
import signal
import subprocess
import uuid
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

from .shell import LabError, Namespace
from .topology import Maps

# Beside the router's own rules; a port is open only if these say so, as all else is dropped.
CHAINS = """
table inet router {
  chain opened { }
  chain forwarded { }
  chain answered { }
  chain prerouting { type nat hook prerouting priority dstnat; jump forwarded; }
  chain postrouting { type nat hook postrouting priority srcnat; jump answered; }
}
add rule inet router forward jump opened
"""
CONFIG = """\
ext_ifname=eth0
listening_ip=lan
enable_upnp={upnp}
enable_natpmp={pcp}
port=5000
uuid={uuid}
secure_mode=yes
upnp_table_name=router
upnp_nat_table_name=router
upnp_forward_chain=opened
upnp_nat_chain=forwarded
upnp_nat_postrouting_chain=answered
allow 1024-65535 0.0.0.0/0 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""
_FORWARDED = re.compile(r"th dport (\d+) dnat ip to ([\d.]+:\d+)")
_PINHOLE = re.compile(r"th dport (\d+) @nh,192,128 0x([0-9a-f]{1,32}) ")


@dataclass(slots=True)
class Gateway:
    ns: Namespace
    maps: Maps
    name: str
    folder: Path  # its own
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.ns.nft(CHAINS)

    def start(self) -> None:
        """Start miniupnpd; it announces itself to the LAN."""
        config = self.folder / "miniupnpd.conf"
        config.write_text(
            CONFIG.format(
                upnp="yes" if Maps.UPNP in self.maps else "no",
                pcp="yes" if Maps.PCP in self.maps else "no",
                uuid=uuid.uuid5(uuid.NAMESPACE_DNS, self.name),
            )
        )
        command = ("miniupnpd", "-d", "-f", str(config), "-P", str(self.folder / "pid"))
        with (self.folder / "log").open("ab") as output:
            self._process = self.ns.spawn(*command, output=output)

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End miniupnpd; killed, it leaves its rules where they are."""
        if self._process is None:
            raise LabError(f"{self.name} runs no miniupnpd")
        self._process.send_signal(how)
        self._process.wait(5)
        self._process = None

    def forget(self) -> None:
        """Close every port, as a reboot does. Flows that exist go on: they are the connection table's."""
        for chain in ("opened", "forwarded", "answered"):
            self.ns.nft(f"flush chain inet router {chain}")

    def forwarded(self) -> dict[int, str]:
        """What is open from outside: each port with the inner address and port it leads to."""
        rules = self.ns.run("nft", "list", "chain", "inet", "router", "forwarded")
        return {int(port): inner for port, inner in _FORWARDED.findall(rules)}

    def pinholes(self) -> set[tuple[IPv6Address, int]]:
        """The IPv6 addresses and ports that strangers may reach."""
        rules = self.ns.run("nft", "list", "chain", "inet", "router", "opened")
        return {(IPv6Address(int(address, 16)), int(port)) for port, address in _PINHOLE.findall(rules)}
