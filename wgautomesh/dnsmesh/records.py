"""This node as the records that others know it by, in the form of a zone file (RFC 1035, section 5). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ..values import IPAddress, Key, key_text
from .zone import KEY_LABEL, PORT_LABEL

TTL = 300  # s, what we propose: a new member is known to all after five minutes
_FULL = f"{TTL:<5} IN"


def records(
    host: str,
    mesh: str | None,
    key: Key,
    allowed: Sequence[IPAddress],
    public: Sequence[IPAddress],
    port: int,
    usual_port: int,
) -> list[str]:
    """A line each. `allowed` are our addresses in the mesh, `public` those that others may reach us at.

    Without `mesh`, the record that names us as a member is left out.
    """
    lines = [f'{mesh}. {_FULL} TXT "{host}"'] if mesh else []
    lines.append(f'{KEY_LABEL}{host}. {_FULL} TXT "{key_text(key)}"')
    lines += [f"{KEY_LABEL}{host}. {_FULL} {_kind(ip)} {ip}" for ip in allowed]
    lines += [f"{host}. {_FULL} {_kind(ip)} {ip}" for ip in public]
    if port != usual_port:
        lines.append(f"{PORT_LABEL}{host}. {_FULL} SRV 0 0 {port} {host}.")
    return lines


def _kind(ip: IPAddress) -> str:
    return "A" if ip.version == 4 else "AAAA"
