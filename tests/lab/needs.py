"""What the lab cannot do without, said in one line instead of a traceback."""

from __future__ import annotations

import os
import shutil
import subprocess

from .wg import has_kernel_module

PACKAGES = {  # command: Debian package
    "ip": "iproute2",
    "sysctl": "procps",
    "nft": "nftables",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ping": "iputils-ping",
    "setpriv": "util-linux",
    "wg": "wireguard-tools",
    "nsd": "nsd",
    "miniupnpd": "miniupnpd-nftables",
}


def missing() -> str | None:
    """What keeps the lab from running here and what to do about it; None if nothing."""
    if os.geteuid() != 0:
        return "the lab makes network namespaces and needs root: run it with sudo"
    wanted = dict(PACKAGES)
    if not shutil.which("ip") or not has_kernel_module():
        wanted["wireguard-go"] = "wireguard-go"
        if not os.path.exists("/dev/net/tun"):
            return "neither WireGuard in the kernel nor /dev/net/tun for wireguard-go: try `modprobe tun`"
    packages = sorted({package for command, package in wanted.items() if not shutil.which(command)})
    if packages:
        return f"missing tools: apt-get install {' '.join(packages)}"
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"no network namespaces here ({tried.stderr.strip()}): run on a machine or VM that allows them"
    return None
