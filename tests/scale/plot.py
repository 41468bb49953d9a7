"""Curves over the number of members, as an SVG of small pictures side by side. Plain drawing, no library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log10
from xml.sax.saxutils import escape

WIDTH, HEIGHT, COLUMNS = 300.0, 210.0, 3  # px of one picture; pictures in a row
LEFT, RIGHT, TOP, BOTTOM = 50.0, 24.0, 46.0, 34.0  # px around the curves
HEADROOM = 1.1  # of the highest value, so that no curve touches the edge
TICKS = 4  # at least
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)  # times a power of ten, between ticks
STYLE = (
    "text{font-family:system-ui,'DejaVu Sans',sans-serif;font-size:11px;fill:#6b7683}"
    ".title{font-size:13px;font-weight:600;fill:#1d2733}.bound{fill:#d93a3a}"
)
BLUE, RED, GREY = "#2f6fd6", "#d93a3a", "#e0e4ea"

Points = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Picture:
    """One curve; `bound` is drawn as a line that it should stay under, in the same unit."""

    title: str
    unit: str
    points: Points
    bound: float | None = None


def draw(pictures: Sequence[Picture], sizes: Sequence[int]) -> str:
    """The whole SVG document; each picture spans all `sizes`."""
    rows = -(-len(pictures) // COLUMNS)
    body = [
        f'<g transform="translate({number % COLUMNS * WIDTH:g} {number // COLUMNS * HEIGHT:g})">'
        + "".join(_picture(each, sizes))
        + "</g>"
        for number, each in enumerate(pictures)
    ]
    width, height = COLUMNS * WIDTH, rows * HEIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}"><style>{STYLE}</style>'
        f'<rect width="{width:g}" height="{height:g}" fill="#fff"/>' + "\n".join(body) + "</svg>\n"
    )


def _picture(picture: Picture, sizes: Sequence[int]) -> Iterator[str]:
    values = [value for _, value in picture.points]
    most_drawn = max([*values, picture.bound or 0.0]) * HEADROOM or 1.0
    step = _step(most_drawn / TICKS)
    top = step * ceil(most_drawn / step)
    least, most = log10(sizes[0]), log10(sizes[-1])

    def x(members: float) -> float:
        return LEFT + (log10(members) - least) / (most - least) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    yield f'<text class="title" x="{LEFT:g}" y="22">{escape(picture.title)}, {escape(picture.unit)}</text>'
    for tick in range(round(top / step) + 1):
        value = tick * step
        yield f'<path d="M{LEFT:g} {y(value):.1f}H{WIDTH - RIGHT:g}" stroke="{GREY}"/>'
        yield f'<text x="{LEFT - 6:g}" y="{y(value) + 4:.1f}" text-anchor="end">{value:,.6g}</text>'
    for members in sizes:
        place = f'x="{x(members):.1f}" y="{HEIGHT - BOTTOM + 16:g}" text-anchor="middle"'
        yield f"<text {place}>{members:,}</text>"
    if picture.bound is not None:
        height = y(picture.bound)
        yield f'<path d="M{LEFT:g} {height:.1f}H{WIDTH - RIGHT:g}" stroke="{RED}" stroke-dasharray="5 4"/>'
        place = f'x="{WIDTH - RIGHT:g}" y="{height - 4:.1f}" text-anchor="end"'
        yield f'<text class="bound" {place}>bound</text>'
    line = " ".join(f"{x(members):.1f},{y(value):.1f}" for members, value in picture.points)
    yield f'<polyline points="{line}" fill="none" stroke="{BLUE}" stroke-width="2"/>'
    for members, value in picture.points:
        yield f'<circle cx="{x(members):.1f}" cy="{y(value):.1f}" r="3" fill="{BLUE}"/>'


def _step(least: float) -> float:
    """The smallest round number that is not less."""
    power = 10.0 ** ceil(log10(least) - 1)
    return next(power * each for each in STEPS if power * each >= least)
