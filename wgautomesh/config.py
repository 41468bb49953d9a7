"""The configuration file: TOML in, a `Config` and every mistake at once out.

Strictness is the caller's: `check` fails on any mistake, running fails only on fatal ones, because files
are pushed to whole fleets and one bad peer must not stop a node from serving the others.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from .values import Endpoint, HostPort, IPAddress, Key, Member, key_text, parse_endpoint, parse_key

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_PATH = Path("/etc/wgautomesh.toml")
CREDENTIALS = "CREDENTIALS_DIRECTORY"  # set by systemd while a unit with credentials runs
MAX_SECRET_SIZE = 64 * 1024  # bytes; a larger file is a mix-up

_KEYS = (
    "interface",
    "gossip_port",
    "gossip_secret",
    "gossip_secret_file",
    "persist_file",
    "lan_discovery",
    "upnp_forward_external_port",
    "ipv6",
    "peers",
)
_PEER_KEYS = ("pubkey", "address", "endpoint", "name")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True, slots=True)
class Mistake:
    """`where` is the key as a person would look for it, such as `peers[2].endpoint`, counted from 1."""

    where: str
    what: str
    fatal: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


@dataclass(frozen=True, slots=True)
class Config:
    path: Path
    interface: str  # an existing WireGuard interface
    members: tuple[Member, ...] = ()  # may contain this node itself
    gossip_port: int = 1666  # UDP, inside the mesh and on the LAN
    secrets: tuple[str, ...] = field(default=(), repr=False)  # the first seals, all open
    persist_file: Path | None = None  # where learned endpoints are kept
    lan_discovery: bool = False  # send and believe beacons on the LAN
    upnp_forward_external_port: int | None = None  # accepted; port mapping is not built yet
    notes: tuple[str, ...] = ()  # what could not be checked here


def load(
    path: Path, environ: Mapping[str, str] = os.environ, *, running: bool
) -> tuple[Config | None, list[Mistake]]:
    """The configuration, None if nothing can be made of it, and all mistakes in it."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        return None, [Mistake("", f"cannot be read: {error.strerror}", fatal=True)]
    except UnicodeDecodeError as error:
        return None, [Mistake("", f"is not UTF-8 at byte {error.start}", fatal=True)]
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits, too
        return None, [Mistake("", f"is not TOML: {_with_line(str(error), text)}", fatal=True)]
    reader = _Reader(table, environ, running=running)
    config = reader.config(path)
    fatal = any(mistake.fatal for mistake in reader.mistakes)
    return (None if fatal else config), reader.mistakes


class _Reader:
    """Reads one table and gathers what is wrong with it."""

    def __init__(self, table: dict[str, Any], environ: Mapping[str, str], *, running: bool) -> None:
        self._table = table
        self._environ = environ
        self._running = running
        self.mistakes: list[Mistake] = []
        self._notes: list[str] = []

    def config(self, path: Path) -> Config:
        self._unknown(self._table, _KEYS, "")
        self._typed("ipv6", bool)
        return Config(
            path=path,
            interface=self._interface(),
            members=tuple(self._members()),
            # Fatal: on another port than the others a node is deaf, and nothing would tell.
            gossip_port=self._port("gossip_port", default=1666, fatal=True) or 1666,
            secrets=self._secrets(),
            persist_file=self._path("persist_file"),
            lan_discovery=bool(self._typed("lan_discovery", bool)),
            upnp_forward_external_port=self._port("upnp_forward_external_port", lowest=0),
            notes=tuple(self._notes),
        )

    # -- top level ------------------------------------------------------------------------------------

    def _interface(self) -> str:
        name = self._typed("interface", str, fatal=True)
        if name is None:
            if "interface" not in self._table:
                self._wrong("interface", 'is missing; write interface = "wg0"', fatal=True)
            return ""
        bad = any(each.isspace() or each in "/:\0" for each in name) or name in (".", "..")
        if bad or not 0 < len(name.encode()) < 16:  # dev_valid_name() in net/core/dev.c
            self._wrong(
                "interface",
                f'"{name}" is no interface name: 1 to 15 characters, no space or slash',
                fatal=True,
            )
        return str(name)

    def _port(
        self, key: str, *, default: int | None = None, lowest: int = 1, fatal: bool = False
    ) -> int | None:
        value = self._typed(key, int, fatal=fatal)
        if value is None:
            return default
        if not lowest <= value <= 65535:
            self._wrong(key, f"is no port; write a number from {lowest} to 65535", fatal=fatal)
            return default
        return int(value)

    def _path(self, key: str, *, fatal: bool = False) -> Path | None:
        """A path with its variables put in; None if not given, or if its variable is set only at run time."""
        text = self._typed(key, str, fatal=fatal)
        if text is None:
            return None
        if not text:
            self._wrong(key, "is empty; leave the key out or write a path", fatal=fatal)
            return None
        unset = [
            name for match in _VARIABLE.finditer(text) if not self._environ.get(name := match[1] or match[2])
        ]
        if CREDENTIALS in unset and not self._running:
            self._notes.append(f"{key}: {text} is checked only at run time")
            return None
        for name in unset:
            self._wrong(key, f"${name} is not set", fatal=fatal)
        if "\0" in text:
            self._wrong(key, "is no path: it has a zero byte in it", fatal=fatal)
        if unset or "\0" in text:
            return None
        return Path(_VARIABLE.sub(lambda match: self._environ[match[1] or match[2]], text))

    def _secrets(self) -> tuple[str, ...]:
        given = [key for key in ("gossip_secret", "gossip_secret_file") if key in self._table]
        if len(given) == 2:
            self._wrong(
                "gossip_secret", "is given beside gossip_secret_file; keep one of the two", fatal=True
            )
            return ()
        if given == ["gossip_secret"]:
            secret = self._typed("gossip_secret", str, fatal=True)
            if secret == "":
                self._wrong(
                    "gossip_secret", "is empty; write a long random text, or leave the key out", fatal=True
                )
            return (secret,) if secret else ()
        path = self._path("gossip_secret_file", fatal=True)
        return self._secret_file(path) if path else ()

    def _secret_file(self, path: Path) -> tuple[str, ...]:
        key = "gossip_secret_file"
        try:
            with path.open("rb") as file:
                if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & stat.S_IROTH:
                    self._wrong(key, f"{path} is readable by everyone; run chmod 600 {path}")
                raw = file.read(MAX_SECRET_SIZE + 1)
            lines = [line.removesuffix("\r") for line in raw.decode().split("\n")]
        except OSError as error:
            self._wrong(key, f"{path} cannot be read: {error.strerror}", fatal=True)
            return ()
        except UnicodeDecodeError:
            self._wrong(key, f"{path} is not UTF-8 text", fatal=True)
            return ()
        secrets = tuple(line for line in lines if line.strip())
        if not secrets:
            self._wrong(key, f"{path} is empty; put a long random text in it", fatal=True)
        if len(raw) > MAX_SECRET_SIZE:
            self._wrong(key, f"{path} is too large for a secret", fatal=True)
        return secrets

    # -- peers ----------------------------------------------------------------------------------------

    def _members(self) -> Iterator[Member]:
        entries = self._table.get("peers", [])
        if not isinstance(entries, list):
            self._wrong("peers", "is not a list; write each peer under a line [[peers]]", fatal=True)
            return
        taken: dict[Key | IPAddress, int] = {}  # by which entry
        for number, entry in enumerate(entries, start=1):
            where = f"peers[{number}]"
            if not isinstance(entry, dict):
                self._wrong(where, "is not a table; write each peer under a line [[peers]]")
                continue
            self._unknown(entry, _PEER_KEYS, f"{where}.")
            name = self._name(entry, where)
            wrong_before = len(self.mistakes)  # what was wrong so far leaves nobody out
            key, address = self._key(entry, where), self._address(entry, where)
            if key is not None and key in taken:
                self._wrong(f"{where}.pubkey", f"{key_text(key)} is also the key of peers[{taken[key]}]")
            if address is not None and address in taken:
                self._wrong(f"{where}.address", f"{address} is also the address of peers[{taken[address]}]")
            endpoint = self._endpoint(entry, where)
            good = len(self.mistakes) == wrong_before
            # An entry that is left out claims nothing while running; `check` names all mistakes at once.
            if good or not self._running:
                taken |= {each: number for each in (key, address) if each is not None and each not in taken}
            if key is not None and address is not None and good:
                yield Member(key, address, endpoint, name)

    def _name(self, entry: dict[str, Any], where: str) -> str | None:
        name = entry.get("name")
        if name is None or (isinstance(name, str) and name.strip() and name.isprintable()):
            return name
        self._wrong(f"{where}.name", 'is no name; write a short text such as name = "attic"')
        return None

    def _key(self, entry: dict[str, Any], where: str) -> Key | None:
        text = self._text(entry, "pubkey", where, "the peer's public key, as wg show prints it")
        if text is None:
            return None
        try:
            return parse_key(text)
        except ValueError as error:
            self._wrong(f"{where}.pubkey", f'"{text}" is no key: {error}; copy it from wg show')
            return None

    def _address(self, entry: dict[str, Any], where: str) -> IPAddress | None:
        text = self._text(entry, "address", where, "the peer's address in the mesh")
        if text is None:
            return None
        where = f"{where}.address"
        plain, slash, _ = text.partition("/")
        try:
            address = ip_address(plain)
        except ValueError:
            self._wrong(where, f'"{text}" is no IP address; write one such as "10.14.4.1"')
            return None
        if slash:
            self._wrong(where, f'"{text}" is a network; write "{plain}"')
            return None
        nobody = address.is_multicast or address.is_loopback or address.is_unspecified
        if nobody or address.is_link_local or "%" in plain or plain == "255.255.255.255":
            self._wrong(where, f'"{text}" is not an address a host can have in a mesh')
            return None
        return address

    def _endpoint(self, entry: dict[str, Any], where: str) -> Endpoint | HostPort | None:
        if "endpoint" not in entry:
            return None
        text = self._text(entry, "endpoint", where, "host:port")
        if text is None:
            return None
        try:
            return parse_endpoint(text)
        except ValueError as error:
            self._wrong(
                f"{where}.endpoint", str(error) if str(error).startswith('"') else f'"{text}" {error}'
            )
            return None

    def _text(self, entry: dict[str, Any], key: str, where: str, meaning: str) -> str | None:
        value = entry.get(key)
        if isinstance(value, str) and value.strip():
            return value.strip()
        if key not in entry:
            what = "is missing"
        else:
            what = "is empty" if value == "" or isinstance(value, str) else f"is not text but {_kind(value)}"
        self._wrong(f"{where}.{key}", f'{what}; write {key} = "…": {meaning}')
        return None

    # -- helpers --------------------------------------------------------------------------------------

    def _typed(self, key: str, kind: type, *, fatal: bool = False) -> Any:
        value = self._table.get(key)
        if value is None or (isinstance(value, kind) and not (kind is int and isinstance(value, bool))):
            return value
        self._wrong(key, f"is not {_NOUNS[kind]} but {_kind(value)}", fatal=fatal)
        return None

    def _unknown(self, table: Mapping[str, Any], known: tuple[str, ...], prefix: str) -> None:
        for key in table:
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                self._wrong(
                    f"{prefix}{key}",
                    f"is not a known key; did you mean {close[0]}?" if close else "is not a known key",
                )

    def _wrong(self, where: str, what: str, *, fatal: bool = False) -> None:
        self.mistakes.append(Mistake(where, what, fatal))


_NOUNS: dict[type, str] = {
    str: "text",
    int: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
    float: "a fraction",
}


def _kind(value: object) -> str:
    return _NOUNS.get(type(value), "a date or time")  # TOML knows no other kind


def _with_line(error: str, text: str) -> str:
    """The parser says "at end of document" where the mistake is on the last line: editors want a number."""
    last = text.count("\n") + 1
    column = len(text) - text.rfind("\n")
    return error.replace("at end of document", f"at line {last}, column {column}")
