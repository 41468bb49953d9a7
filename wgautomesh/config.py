"""The configuration file: TOML in, a `Config` and every mistake at once out.

Strictness is the caller's: `check` fails on any mistake, running fails only on fatal ones, because files
are pushed to whole fleets and one bad peer must not stop a node from serving the others.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .dnsmesh import settings
from .peers import read_peers
from .reading import Mistake, Reader, kind_of
from .values import Endpoint, Member, parse_endpoint

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
    "lan_interfaces",
    "upnp_forward_external_port",
    "ipv6",
    *settings.KEYS,
    "control_socket",
    "routes",
    "metrics_listen",
    "peers",
)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A configuration without a file: the same keys, given as options."""

    table: Mapping[str, Any]

    def __str__(self) -> str:
        return "command line"


@dataclass(frozen=True, slots=True)
class Config:
    path: Path | CommandLine  # where it comes from
    interface: str  # an existing WireGuard interface
    members: tuple[Member, ...] = ()  # may contain this node itself
    gossip_port: int = 1666  # UDP, inside the mesh and on the LAN
    secrets: tuple[str, ...] = field(default=(), repr=False)  # the first seals, all open
    persist_file: Path | None = None  # where learned endpoints are kept
    lan_discovery: bool = False  # send and believe beacons on the LAN
    lan_interfaces: tuple[str, ...] | None = None  # names and globs of devices for that; None: see watch.py
    upnp_forward_external_port: int | None = None  # of the router; 0 is any, None no mapping
    dns: settings.Settings | None = None  # where else members come from
    control_socket: Path | None = None  # None: where `control.default_path` says
    routes: Literal["all"] | bool = False  # kernel routes for allowed IPs; "all": default routes too
    metrics_listen: Endpoint | None = None  # TCP, for Prometheus
    notes: tuple[str, ...] = ()  # what could not be checked here


def load(
    path: Path | CommandLine, environ: Mapping[str, str] = os.environ, *, running: bool
) -> tuple[Config | None, list[Mistake]]:
    """The configuration, None if nothing can be made of it, and all mistakes in it."""
    try:
        table = dict(path.table) if isinstance(path, CommandLine) else _read(path)
    except OSError as error:
        return None, [Mistake("", f"cannot be read: {error.strerror}", fatal=True)]
    except UnicodeDecodeError as error:
        return None, [Mistake("", f"is not UTF-8 at byte {error.start}", fatal=True)]
    except (ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits, too
        return None, [Mistake("", f"is not TOML: {error}", fatal=True)]
    reader = _Top(table, environ, running=running)
    config = reader.config(path)
    fatal = any(mistake.fatal for mistake in reader.mistakes)
    return (None if fatal else config), reader.mistakes


class _Top(Reader):
    """The top level of the file."""

    def __init__(self, table: dict[str, Any], environ: Mapping[str, str], *, running: bool) -> None:
        super().__init__(table, [])
        self._environ = environ
        self._running = running
        self._notes: list[str] = []

    def config(self, path: Path | CommandLine) -> Config:
        self.unknown(_KEYS)
        self.typed("ipv6", bool)
        return Config(
            path=path,
            interface=self._interface(),
            members=tuple(read_peers(self.table.get("peers", []), self.mistakes, running=self._running)),
            # Fatal: on another port than the others a node is deaf, and nothing would tell.
            gossip_port=self._port("gossip_port", default=1666, fatal=True) or 1666,
            secrets=self._secrets(),
            persist_file=self._path("persist_file"),
            lan_discovery=bool(self.typed("lan_discovery", bool)),
            lan_interfaces=self._lan_interfaces(),
            upnp_forward_external_port=self._port("upnp_forward_external_port", lowest=0),
            dns=settings.read(self, running=self._running),
            control_socket=self._path("control_socket"),
            routes=self._routes(),
            metrics_listen=self._listen("metrics_listen"),
            notes=tuple(self._notes),
        )

    def _interface(self) -> str:
        name = self.typed("interface", str, fatal=True)
        if name is None:
            if "interface" not in self.table:
                self.wrong("interface", 'is missing; write interface = "wg0"', fatal=True)
            return ""
        bad = any(each.isspace() or each in "/:\0" for each in name) or name in (".", "..")
        if bad or not 0 < len(name.encode()) < 16:  # dev_valid_name() in net/core/dev.c
            self.wrong(
                "interface",
                f'"{name}" is no interface name: 1 to 15 characters, no space or slash',
                fatal=True,
            )
        return str(name)

    def _lan_interfaces(self) -> tuple[str, ...] | None:
        """Names and patterns; None if the key is not there. What is wrong is left out: less is looked at."""
        key = "lan_interfaces"
        if key not in self.table:
            return None
        given = self.typed(key, list)
        if given == []:
            self.wrong(key, 'is empty; write lan_interfaces = ["eth0", "br-*"], or lan_discovery = false')
        good = []
        for each in given or ():
            if not isinstance(each, str) or not each or any(c.isspace() or c in "/\0" for c in each):
                shown = f'"{each}"' if isinstance(each, str) else kind_of(each)
                self.wrong(key, f'{shown} is no interface name; write lan_interfaces = ["eth0", "br-*"]')
            elif each == self.table.get("interface"):
                self.wrong(key, f'"{each}" is the mesh itself; name devices that lead to a LAN')
            else:
                good.append(each)
        return tuple(good)

    def _routes(self) -> Literal["all"] | bool:
        value = self.table.get("routes", False)
        if value is True or value == "all":
            return True if value is True else "all"
        if value is not False:
            self.wrong("routes", 'is neither true nor false nor "all"')
        return False

    def _port(
        self, key: str, *, default: int | None = None, lowest: int = 1, fatal: bool = False
    ) -> int | None:
        value = self.typed(key, int, fatal=fatal)
        if value is None:
            return default
        if not lowest <= value <= 65535:
            self.wrong(key, f"is no port; write a number from {lowest} to 65535", fatal=fatal)
            return default
        return int(value)

    def _listen(self, key: str) -> Endpoint | None:
        text = self.typed(key, str)
        if text is None:
            return None
        try:
            found = parse_endpoint(text)
        except ValueError:
            found = None
        if isinstance(found, Endpoint):
            return found
        self.wrong(key, f'"{text}" is no address with a port; write "127.0.0.1:9586"')
        return None

    def _path(self, key: str, *, fatal: bool = False) -> Path | None:
        """A path with its variables put in; None if not given, or if its variable is set only at run time."""
        text = self.typed(key, str, fatal=fatal)
        if text is None:
            return None
        if not text:
            self.wrong(key, "is empty; leave the key out or write a path", fatal=fatal)
            return None
        unset = [
            name for match in _VARIABLE.finditer(text) if not self._environ.get(name := match[1] or match[2])
        ]
        if CREDENTIALS in unset and not self._running:
            self._notes.append(f"{key}: {text} is checked only at run time")
            return None
        for name in unset:
            self.wrong(key, f"${name} is not set", fatal=fatal)
        if "\0" in text:
            self.wrong(key, "is no path: it has a zero byte in it", fatal=fatal)
        if unset or "\0" in text:
            return None
        return Path(_VARIABLE.sub(lambda match: self._environ[match[1] or match[2]], text))

    def _secrets(self) -> tuple[str, ...]:
        given = [key for key in ("gossip_secret", "gossip_secret_file") if key in self.table]
        if len(given) == 2:
            self.wrong("gossip_secret", "is given beside gossip_secret_file; keep one of the two", fatal=True)
            return ()
        if given == ["gossip_secret"]:
            secret = self.typed("gossip_secret", str, fatal=True)
            if secret == "":
                self.wrong(
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
                    self.wrong(key, f"{path} is readable by everyone; run chmod 600 {path}")
                raw = file.read(MAX_SECRET_SIZE + 1)
            lines = [line.removesuffix("\r") for line in raw.decode().split("\n")]
        except OSError as error:
            self.wrong(key, f"{path} cannot be read: {error.strerror}", fatal=True)
            return ()
        except UnicodeDecodeError:
            self.wrong(key, f"{path} is not UTF-8 text", fatal=True)
            return ()
        secrets = tuple(line for line in lines if line.strip())
        if not secrets:
            self.wrong(key, f"{path} is empty; put a long random text in it", fatal=True)
        if len(raw) > MAX_SECRET_SIZE:
            self.wrong(key, f"{path} is too large for a secret", fatal=True)
        return secrets


def _read(path: Path) -> dict[str, Any]:
    text = path.read_bytes().decode()
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise ValueError(_with_line(str(error), text)) from None


def _with_line(error: str, text: str) -> str:
    """The parser says "at end of document" where the mistake is on the last line: editors want a number."""
    last = text.count("\n") + 1
    column = len(text) - text.rfind("\n")
    return error.replace("at end of document", f"at line {last}, column {column}")
