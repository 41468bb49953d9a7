"""Figures for Prometheus, over HTTP. Imported only if `metrics_listen` is set: prometheus-client is optional.

Rendered by the official client, one family after the other, and the long ones in parts, so that the loop is
not held: see `stream.py`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from .link import Link, State
from .observer import Histogram, Observer
from .report import KINDS, LEFT_OUT, View
from .stream import Answer
from .tally import Tally
from .values import Endpoint, key_text

Label = TypeVar("Label")
PART = 100  # samples rendered at once: about a millisecond
BACKLOG = 16
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: " + CONTENT_TYPE_LATEST.encode() + b"\r\nConnection: close\r\n\r\n"
_ERROR = "HTTP/1.1 {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}"


class _One:
    """As much of a registry as `generate_latest` asks for."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


def listen(at: Endpoint) -> socket.socket:
    """A listening socket. Raises OSError."""
    family = socket.AF_INET if at.ip.version == 4 else socket.AF_INET6
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(at.ip), at.port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def respond(
    request: bytes, view: Callable[[], View], observer: Observer, tally: Tally, held: Histogram
) -> Answer:
    """The answer to one HTTP request; the connection ends with it."""
    method, _, rest = request.partition(b"\r\n")[0].partition(b" ")
    path = rest.split(b" ")[0].partition(b"?")[0]
    if method != b"GET":
        yield _error("405 Method Not Allowed")
    elif path != b"/metrics":
        yield _error("404 Not Found")
    else:
        yield _OK
        now = view()
        links = list(now.mesh.links.values()) if now.mesh else []
        yield from _by_peer("up", "Whether the peer is connected", links, lambda link: link.is_up)
        text = "Smoothed round trip to the peer's agent"
        yield from _by_peer("rtt_seconds", text, links, lambda link: link.rtt if link.is_up else None)
        for family in _families(now, links, observer, tally, held):
            yield generate_latest(_One(family))


def _families(
    view: View, links: Sequence[Link], observer: Observer, tally: Tally, held: Histogram
) -> Iterator[Metric]:
    states = dict.fromkeys([*(state.value for state in State), LEFT_OUT], 0)
    for link in links:
        states[LEFT_OUT if link.blocked else link.state.value] += 1
    by_state = GaugeMetricFamily("wgautomesh_peers", "Peers by state of their link", labels=("state",))
    for state, count in states.items():
        by_state.add_metric((state,), count)
    yield by_state
    yield _counter("candidate_attempts", "Turns that candidates got", "kind", observer.tried, KINDS)
    yield _counter("candidate_successes", "Links that came up at one", "kind", observer.succeeded, KINDS)
    text = "Time from missing a peer until it is connected"
    yield _histogram("connect_seconds", text, observer.connect_seconds)
    for name, counts in (("datagrams", tally.datagrams), ("bytes", tally.bytes)):
        family = CounterMetricFamily(
            f"wgautomesh_gossip_{name}", f"Gossip {name} inside the tunnel", labels=("direction", "kind")
        )
        for labels, count in sorted(counts.items()):
            family.add_metric(labels, count)
        yield family
    text = "Gossip datagrams that were not believed"
    yield _counter("rejected_datagrams", text, "reason", tally.rejected, {})
    if view.mapping is not None:
        mapped = bool(view.mesh and view.mesh.standpoint.mapped)
        yield GaugeMetricFamily(
            "wgautomesh_port_mapping", "Whether the router maps a port for us", value=mapped
        )
    yield _histogram("loop_held_seconds", "Time from waking up until waiting again", held)
    uptime = view.now - view.started
    yield GaugeMetricFamily("wgautomesh_uptime_seconds", "Since the agent started", value=uptime)


def _by_peer(
    name: str, text: str, links: Sequence[Link], value: Callable[[Link], float | None]
) -> Iterator[bytes]:
    """One sample a peer, in parts; what describes the family stands only before the first."""
    for begin in range(0, len(links) or 1, PART):
        labels = ("peer", "address")  # the address tells apart who shares a name
        family = GaugeMetricFamily(f"wgautomesh_peer_{name}", text, labels=labels)
        for link in links[begin : begin + PART]:
            member, found = link.member, value(link)
            if found is not None:
                family.add_metric((member.name or key_text(member.key), str(member.address)), found)
        lines = generate_latest(_One(family)).splitlines(keepends=True)
        yield b"".join(line for line in lines if begin == 0 or not line.startswith(b"#"))


def _counter(
    name: str, text: str, label: str, counts: Mapping[Label, int], words: Mapping[Label, str]
) -> Metric:
    family = CounterMetricFamily(f"wgautomesh_{name}", text, labels=(label,))
    for each, count in counts.items():
        family.add_metric((words.get(each, str(each)),), count)
    return family


def _histogram(name: str, text: str, of: Histogram) -> Metric:
    total, buckets = 0, []
    for bound, count in zip((*map(str, of.bounds), "+Inf"), of.counts, strict=True):
        total += count
        buckets.append((bound, total))
    return HistogramMetricFamily(f"wgautomesh_{name}", text, buckets=buckets, sum_value=of.total)


def _error(status: str) -> bytes:
    return _ERROR.format(status, len(status) + 1, status + "\n").encode()
