"""The whole mesh as its members see it: the answer to `graph`, as plain data. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypedDict

from .candidates import is_private
from .census import path_of
from .link import Link
from .mesh import Mesh
from .messages import Kind, LinkWord, Path
from .report import NATS, PATHS, VERSION, View
from .values import Key, key_text


class Head(TypedDict):
    version: int
    kind: str
    interface: str


class Node(TypedDict):
    key: str
    name: str | None
    address: str | None
    site: str | None  # the public address it is seen at; nodes with the same one are at one place
    own: bool
    answered: bool  # told us its links
    nat: str


class Pair(TypedDict):
    between: tuple[str, str]
    connected: bool  # by the word of either
    path: str | None
    rtt: float | None


def head(view: View) -> Head:
    return {"version": VERSION, "kind": "graph", "interface": view.interface}


def nodes(view: View) -> Iterator[Node]:
    """We ourselves, then all members in the order of the configuration."""
    mesh = view.mesh
    if mesh is None:
        return
    me = next((each for each in view.members if each.key == mesh.own), None)
    public = mesh.standpoint.public_endpoints()
    yield {
        "key": key_text(mesh.own),
        "name": me.name if me else None,
        "address": str(me.address) if me else None,
        "site": str(public[0].ip) if public else None,
        "own": True,
        "answered": True,
        "nat": NATS[mesh.standpoint.nat(view.device.listen_port if view.device else 0)],
    }
    for key, link in list(mesh.links.items()):
        yield {
            "key": key_text(key),
            "name": link.member.name,
            "address": str(link.member.address),
            "site": _site(mesh, link),
            "own": False,
            "answered": key in mesh.census.heard,
            "nat": NATS[link.nat],
        }


def pairs(view: View) -> Iterator[Pair]:
    """Each pair that somebody told of, once. Of what neither of two told, nothing is known."""
    mesh = view.mesh
    if mesh is None:
        return
    told = dict(mesh.census.heard)
    nothing: Mapping[Key, LinkWord] = {}
    done = set()
    for one in [mesh.own, *told]:
        for word in _own_words(mesh) if one == mesh.own else list(told[one].values()):
            if word.key not in done and word.key != one:
                yield _pair(one, word.key, word, told.get(word.key, nothing).get(one))
        done.add(one)


def _own_words(mesh: Mesh) -> Iterator[LinkWord]:
    for key, link in list(mesh.links.items()):
        path = path_of(link, mesh.standpoint, mesh.gossip.book)
        yield LinkWord(key, path, link.rtt if link.is_up else None)


def _pair(one: Key, other: Key, word: LinkWord, reverse: LinkWord | None) -> Pair:
    words = [each for each in (word, reverse) if each and each.path is not None]
    paths = {each.path for each in words}
    path = next((each for each in (Path.LAN, Path.MAPPED, Path.DIRECT) if each in paths), None)
    rtts = [each.rtt for each in words if each.rtt is not None]
    return {
        "between": (key_text(one), key_text(other)),
        "connected": bool(words),
        "path": PATHS[path] if path is not None else None,
        "rtt": round(sum(rtts) / len(rtts), 6) if rtts else None,
    }


def _site(mesh: Mesh, link: Link) -> str | None:
    record = mesh.gossip.book.get(link.member.key)
    routes = record.routes if record else ()
    public = [each.endpoint.ip for each in routes if each.kind is not Kind.LAN]
    if link.is_up and link.endpoint:
        public.append(link.endpoint.ip)
    return next((str(ip) for ip in public if not is_private(ip)), str(public[0]) if public else None)
