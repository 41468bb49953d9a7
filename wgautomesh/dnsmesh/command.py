"""`wgautomesh dns-record`: this node as records, from its interface and its own addresses."""

from __future__ import annotations

import argparse
import errno

from ..config import load
from ..values import Device, IPAddress
from ..watch import Watch
from ..wireguard.choose import open_wireguard
from .records import TTL, records
from .settings import WIREGUARD_PORT
from .zone import by_number, host_name


def describe(options: argparse.Namespace) -> list[str]:
    """Lines of a zone file. OSError and ValueError say in words what is wrong."""
    host, mesh = host_name(options.name), host_name(options.dns_mesh or "")
    for text, name in ((options.name, host), (options.dns_mesh, mesh)):
        if text and name is None:
            raise ValueError(f'"{text}" is no DNS name')
    interface, usual_port = options.interface, WIREGUARD_PORT
    if not (interface and mesh):
        config, mistakes = load(options.config, running=False)
        if config is None and interface is None:
            why = next(mistake for mistake in mistakes if mistake.fatal)
            raise ValueError(f"{options.config} {why}; or give --interface")
        if config:
            interface = interface or config.interface
            mesh = mesh or (config.dns.name if config.dns else None)
            usual_port = config.dns.port if config.dns else WIREGUARD_PORT
    device = _read(interface)
    if host is None or device.key is None:
        raise ValueError(f"{interface} has no private key yet")
    allowed, public = _addresses(device.index)
    lines = records(host, mesh, device.key, allowed, public, device.listen_port, usual_port)
    if not mesh:
        lines.append(f'; and at the name of the mesh: {TTL} IN TXT "{host}"')
    if not public:
        lines.append(f"; if others can reach this node: {host}. {TTL} IN A its public address")
    return lines


def _read(interface: str) -> Device:
    try:
        wireguard = open_wireguard(interface)
        try:
            return wireguard.read()
        finally:
            wireguard.close()
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        raise OSError(errno.ENODEV, f"{interface} is no WireGuard interface of this machine") from None


def _addresses(index: int) -> tuple[list[IPAddress], list[IPAddress]]:
    """Those of our interface, and the public ones of all others."""
    watch = Watch()
    try:
        interfaces = watch.interfaces()
    finally:
        watch.close()
    mine = interfaces.pop(index).addresses if index in interfaces else ()
    public = {each.ip for other in interfaces.values() for each in other.addresses if each.ip.is_global}
    return (
        sorted((each.ip for each in mine if not each.ip.is_link_local), key=by_number),
        sorted(public, key=by_number),
    )
