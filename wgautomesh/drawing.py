"""The picture of a mesh: the answer to `graph` in, SVG out. Pure; plain drawing, no library.

Nodes stand on a circle, those of one site (public address) side by side on one band. Edges tell by colour how
packets go, and by strength how fast; a pair that is not connected is red, on top of all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import cos, degrees, pi, sin
from typing import Any
from xml.sax.saxutils import escape

Report = Mapping[str, Any]

FEW = 24  # nodes up to which names are written level, and pairs get their RTT
FEW_EDGES = 15  # pairs up to which each has its RTT beside it
SLOT, SLOT_MANY = 64.0, 27.0  # px of the circle for a node
MIN_RADIUS = 120.0  # px
MIN_WIDTH = 520.0  # px; what the legend needs
BAND = 30.0  # px, width of a site's band
SITE_GAP = 0.5  # slots between two sites
LETTER = 6.6  # px, width of a letter in a name
COLOURS: dict[str | None, str] = {"LAN": "#1f9d61", "direct": "#2f6fd6", "mapped": "#8a4fc7", None: "#d93a3a"}
GREY, INK, PALE, BAND_COLOUR = "#aab2bd", "#1d2733", "#6b7683", "#e9edf2"
SLOW = 0.3  # s of RTT from which an edge is as pale as it gets
STYLE = (
    "text{font-family:system-ui,'DejaVu Sans',sans-serif;font-size:12px;fill:#1d2733}"
    ".small{font-size:10px;fill:#6b7683}.halo{paint-order:stroke;stroke:#fff;stroke-width:4px}"
    ".title{font-size:15px;font-weight:600}"
)


@dataclass(frozen=True, slots=True)
class _Place:
    node: Report
    angle: float  # radians, 0 is right, clockwise
    x: float
    y: float


def draw(report: Report) -> str:
    """The whole SVG document."""
    sites = _sites(report["nodes"])
    count = len(report["nodes"])
    many = count > FEW
    slots = count + SITE_GAP * (len(sites) if len(sites) > 1 else 0)
    radius = max(MIN_RADIUS, slots * (SLOT_MANY if many else SLOT) / (2 * pi))
    label = max((LETTER * len(_name(each)) for each in report["nodes"]), default=0.0)
    margin = BAND + min(label, 200.0) + (44 if many else 30)
    width = max(MIN_WIDTH, 2 * (radius + margin))
    height = 2 * (radius + (margin if many else BAND + 50)) + 80
    centre = (width / 2, (height - 80) / 2 + 44)
    places = _places(sites, slots, radius, centre)
    body = [
        *_bands(sites, places, radius),
        *_edges(report["links"], places, centre, many),
        *(part for place in places.values() for part in _node(place, radius, centre, many)),
        *(_site_labels(sites, places, radius + BAND / 2 + min(label, 200.0) + 22, centre) if many else ()),
        *_title(report),
        *_legend(report, height),
    ]
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
            f"<style>{STYLE}</style>",
            '<rect width="100%" height="100%" fill="#fff"/>',
            *body,
            "</svg>\n",
        ]
    )


def _sites(nodes: Sequence[Report]) -> list[list[Report]]:
    """Nodes by public address, ours first, then the largest; those whose address nobody knows stand alone."""
    by_site: dict[str, list[Report]] = {}
    for node in nodes:
        by_site.setdefault(node["site"] or node["key"], []).append(node)
    groups = [sorted(group, key=_name) for group in by_site.values()]
    return sorted(
        groups, key=lambda group: (not any(each["own"] for each in group), -len(group), _name(group[0]))
    )


def _places(
    sites: Sequence[Sequence[Report]], slots: float, radius: float, centre: tuple[float, float]
) -> dict[str, _Place]:
    places = {}
    step = 2 * pi / slots if slots else 0.0
    angle = -pi / 2 - step * (len(sites[0]) - 1) / 2 if sites else 0.0
    for group in sites:
        for node in group:
            x, y = centre[0] + radius * cos(angle), centre[1] + radius * sin(angle)
            places[str(node["key"])] = _Place(node, angle, x, y)
            angle += step
        angle += step * SITE_GAP if len(sites) > 1 else 0.0
    return places


def _bands(sites: Sequence[Sequence[Report]], places: Mapping[str, _Place], radius: float) -> Iterator[str]:
    """A band under the nodes of each site."""
    for group in sites:
        first, last = places[group[0]["key"]], places[group[-1]["key"]]
        far = int(last.angle - first.angle > pi)
        path = f"M{first.x:.1f} {first.y:.1f}"
        path += (
            f"A{radius:.1f} {radius:.1f} 0 {far} 1 {last.x:.1f} {last.y:.1f}"
            if len(group) > 1
            else f"L{last.x:.1f} {last.y + 0.01:.2f}"
        )
        look = f'stroke="{BAND_COLOUR}" stroke-width="{BAND}" stroke-linecap="round"'
        yield f'<path d="{path}" fill="none" {look}/>'


def _edges(
    links: Sequence[Report], places: Mapping[str, _Place], centre: tuple[float, float], many: bool
) -> Iterator[str]:
    labels = []
    for link in sorted(links, key=lambda each: (not each["connected"], each["path"] == "LAN")):
        one, other = (places.get(key) for key in link["between"])
        if one is None or other is None:
            continue
        middle = ((one.x + other.x) / 2, (one.y + other.y) / 2)
        pull = 0.45 if many else 0.0  # edges of a large mesh bend inwards, so that neighbours' stay apart
        bend = tuple(at + (to - at) * pull for at, to in zip(middle, centre, strict=True))
        fast = 1.0 - min((link["rtt"] if link["rtt"] is not None else SLOW / 2) / SLOW, 1.0)
        strength = (0.35 + 0.6 * fast) * (0.22 if many and link["path"] != "LAN" else 1.0)
        colour, dash, width = COLOURS[link["path"]], "", 1.0 if many else 2.0
        if not link["connected"]:
            colour, dash, strength, width = (
                COLOURS[None],
                ' stroke-dasharray="5 4"',
                0.9,
                1.4 if many else 2.0,
            )
        yield (
            f'<path d="M{one.x:.1f} {one.y:.1f}Q{bend[0]:.1f} {bend[1]:.1f} {other.x:.1f} {other.y:.1f}" '
            f'fill="none" stroke="{colour}" stroke-opacity="{strength:.2f}" stroke-width="{width}"{dash}/>'
        )
        if len(links) <= FEW_EDGES:
            text = _rtt(link["rtt"]) if link["connected"] else "not connected"
            labels.append(_beside(one, other, text))
    yield from labels


def _beside(one: _Place, other: _Place, text: str) -> str:
    """Not in the middle: that is where edges cross."""
    x, y = one.x + (other.x - one.x) * 0.3, one.y + (other.y - one.y) * 0.3
    return f'<text class="small halo" x="{x:.1f}" y="{y + 3:.1f}" text-anchor="middle">{text}</text>'


def _node(place: _Place, radius: float, centre: tuple[float, float], many: bool) -> Iterator[str]:
    node = place.node
    fill = INK if node["answered"] else GREY
    size, at = 5.0 if many else 8.0, f'cx="{place.x:.1f}" cy="{place.y:.1f}"'
    if node["own"]:
        yield f'<circle {at} r="{size + 4}" fill="#fff" stroke="{INK}" stroke-width="1.5"/>'
    yield f'<circle {at} r="{size}" fill="{fill}"/>'
    out = radius + BAND / 2 + 7
    x, y = centre[0] + out * cos(place.angle), centre[1] + out * sin(place.angle)
    left = cos(place.angle) < -0.01
    name, grey = escape(_name(node)), "" if node["answered"] else f' style="fill:{PALE}"'
    if many:
        turn = degrees(place.angle) + (180 if left else 0)
        anchor = "end" if left else "start"
        yield (
            f'<text transform="translate({x:.1f} {y:.1f}) rotate({turn:.1f})" y="4" '
            f'text-anchor="{anchor}"{grey}>{name}</text>'
        )
        return
    anchor = "middle" if abs(cos(place.angle)) < 0.25 else "end" if left else "start"
    below = sin(place.angle) > 0
    lines = [each for each in (node["address"], node["site"]) if each]
    if anchor == "middle":
        y += 10 if below else -1 - 13 * len(lines)
    elif not below:
        y += 13 * len(lines) * sin(place.angle)  # the lines stand beside or above the node, never across it
    yield f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{grey}>{name}</text>'
    for number, text in enumerate(lines, start=1):
        at = f'x="{x:.1f}" y="{y + 13 * number:.1f}"'
        yield f'<text class="small" {at} text-anchor="{anchor}">{text}</text>'


def _site_labels(
    sites: Sequence[Sequence[Report]],
    places: Mapping[str, _Place],
    out: float,
    centre: tuple[float, float],
) -> Iterator[str]:
    """The public address that several nodes share, along their band."""
    for group in sites:
        if len(group) < 2:
            continue
        angle = (places[group[0]["key"]].angle + places[group[-1]["key"]].angle) / 2
        turn = degrees(angle) + (90 if sin(angle) < 0 else -90)
        x, y = centre[0] + out * cos(angle), centre[1] + out * sin(angle)
        yield (
            f'<text class="small" transform="translate({x:.1f} {y:.1f}) rotate({turn:.1f})" y="3" '
            f'text-anchor="middle">{escape(group[0]["site"])}</text>'
        )


def _title(report: Report) -> Iterator[str]:
    links, nodes = report["links"], report["nodes"]
    up = sum(each["connected"] for each in links)
    yield f'<text class="title" x="16" y="26">{escape(report["interface"])}: {len(nodes)} nodes</text>'
    unknown = len(nodes) * (len(nodes) - 1) // 2 - len(links)
    text = f"{up} of {len(links)} pairs connected" + (f"; of {unknown} more nobody told" if unknown else "")
    yield f'<text class="small" x="16" y="42">{text}</text>'


def _legend(report: Report, height: float) -> Iterator[str]:
    """Only what is in the picture."""
    counts: dict[str | None, int] = {}
    for each in report["links"]:
        path = each["path"] if each["connected"] else None
        counts[path] = counts.get(path, 0) + 1
    x, y = 16.0, height - 14
    for path, text in (
        ("LAN", "LAN"),
        ("direct", "direct"),
        ("mapped", "mapped port"),
        (None, "not connected"),
    ):
        if path in counts:
            dash = ' stroke-dasharray="5 4"' if path is None else ""
            yield (
                f'<path d="M{x:.0f} {y - 4:.0f}h20" stroke="{COLOURS[path]}" stroke-width="2.5"{dash}/>'
                f'<text class="small" x="{x + 26:.0f}" y="{y:.0f}">{text}: {counts[path]}</text>'
            )
            x += 50 + 6 * len(f"{text}: {counts[path]}")
    silent = sum(not each["answered"] for each in report["nodes"])
    if silent:
        yield (
            f'<circle cx="{x + 6:.0f}" cy="{y - 4:.0f}" r="5" fill="{GREY}"/>'
            f'<text class="small" x="{x + 16:.0f}" y="{y:.0f}">did not answer: {silent}</text>'
        )


def _name(node: Report) -> str:
    return str(node["name"] or node["key"][:8] + "…")


def _rtt(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    return f"{seconds * 1000:.1f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"
