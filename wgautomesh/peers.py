"""The [[peers]] of a configuration: who belongs to the mesh."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from .reading import Mistake, Reader
from .values import (
    Endpoint,
    HostPort,
    IPAddress,
    Key,
    Member,
    can_be_a_host,
    key_text,
    parse_endpoint,
    parse_key,
)

_KEYS = ("pubkey", "address", "endpoint", "name")


def read_peers(entries: Any, mistakes: list[Mistake], *, running: bool) -> Iterator[Member]:
    """Members from all entries that are right; what is wrong with the others goes to `mistakes`."""
    if not isinstance(entries, list):
        what = "is not a list; write each peer under a line [[peers]]"
        mistakes.append(Mistake("peers", what, fatal=True))
        return
    taken: dict[Key | IPAddress, int] = {}  # by which entry
    for number, entry in enumerate(entries, start=1):
        where = f"peers[{number}]"
        if not isinstance(entry, dict):
            mistakes.append(Mistake(where, "is not a table; write each peer under a line [[peers]]"))
            continue
        peer = _Peer(entry, mistakes, f"{where}.")
        peer.unknown(_KEYS)
        name = peer.name()
        wrong_before = len(mistakes)  # what was wrong so far leaves nobody out
        key, address = peer.key(), peer.address()
        if key is not None and key in taken:
            peer.wrong("pubkey", f"{key_text(key)} is also the key of peers[{taken[key]}]")
        if address is not None and address in taken:
            peer.wrong("address", f"{address} is also the address of peers[{taken[address]}]")
        endpoint = peer.endpoint()
        good = len(mistakes) == wrong_before
        # An entry that is left out claims nothing while running; `check` names all mistakes at once.
        if good or not running:
            taken |= {each: number for each in (key, address) if each is not None and each not in taken}
        if key is not None and address is not None and good:
            yield Member(key, address, (endpoint,) if endpoint else (), name)


class _Peer(Reader):
    def name(self) -> str | None:
        name = self.table.get("name")
        if name is None or (isinstance(name, str) and name.strip() and name.isprintable()):
            return name
        self.wrong("name", 'is no name; write a short text such as name = "attic"')
        return None

    def key(self) -> Key | None:
        text = self.text("pubkey", "the peer's public key, as wg show prints it")
        if text is None:
            return None
        try:
            return parse_key(text)
        except ValueError as error:
            self.wrong("pubkey", f'"{text}" is no key: {error}; copy it from wg show')
            return None

    def address(self) -> IPAddress | None:
        text = self.text("address", "the peer's address in the mesh")
        if text is None:
            return None
        plain, slash, _ = text.partition("/")
        try:
            address = ip_address(plain)
        except ValueError:
            self.wrong("address", f'"{text}" is no IP address; write one such as "10.14.4.1"')
            return None
        if slash:
            self.wrong("address", f'"{text}" is a network; write "{plain}"')
            return None
        if not can_be_a_host(address) or "%" in plain:
            self.wrong("address", f'"{text}" is not an address a host can have in a mesh')
            return None
        return address

    def endpoint(self) -> Endpoint | HostPort | None:
        text = self.text("endpoint", "host:port") if "endpoint" in self.table else None
        if text is None:
            return None
        try:
            return parse_endpoint(text)
        except ValueError as error:
            self.wrong("endpoint", str(error) if str(error).startswith('"') else f'"{text}" {error}')
            return None
