"""Draws docs/link.svg from the transition table in wgautomesh/link.py: python docs/draw_states.py"""

from __future__ import annotations

from html import escape
from pathlib import Path

from wgautomesh.link import TRANSITIONS, Event, State

WIDTH, HEIGHT = 1120, 640
BOX = (190, 56)
PLACES = {
    State.NO_CANDIDATE: (130, 330),
    State.TRYING: (500, 90),
    State.CONNECTED: (980, 210),
    State.DOUBTED: (800, 560),
    State.SILENT: (330, 560),
}
COLOURS = {
    State.NO_CANDIDATE: "#e8e8e8",
    State.TRYING: "#fff0c8",
    State.CONNECTED: "#cdeccd",
    State.DOUBTED: "#ffe2b8",
    State.SILENT: "#f6cccc",
}


def grouped() -> dict[tuple[State, State], list[str]]:
    groups: dict[tuple[State, State], list[str]] = {}
    for (before, event), after in TRANSITIONS.items():
        if event is not Event.LOST:  # from everywhere; said in words below
            groups.setdefault((before, after), []).append(event.value)
    return groups


def edge(before: State, after: State) -> tuple[str, float, float]:
    """The path from one box to the other, bowed to its left, and the middle of the label."""
    (x1, y1), (x2, y2) = PLACES[before], PLACES[after]
    dx, dy = x2 - x1, y2 - y1
    length = (dx * dx + dy * dy) ** 0.5
    bow = 60
    mx, my = (x1 + x2) / 2 + dy / length * bow, (y1 + y2) / 2 - dx / length * bow

    def rim(x: float, y: float) -> tuple[float, float]:
        """Where the line from a box's centre to the bow leaves the box."""
        ux, uy = mx - x, my - y
        share = min((BOX[0] / 2 + 3) / abs(ux) if ux else 1e9, (BOX[1] / 2 + 3) / abs(uy) if uy else 1e9)
        return x + ux * share, y + uy * share

    (sx, sy), (ex, ey) = rim(x1, y1), rim(x2, y2)
    return (
        f"M{sx:.0f},{sy:.0f} Q{mx:.0f},{my:.0f} {ex:.0f},{ey:.0f}",
        (sx + ex + 2 * mx) / 4,
        (sy + ey + 2 * my) / 4,
    )


def draw() -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        '<defs><marker id="tip" markerWidth="10" markerHeight="8" refX="9" refY="4" orient="auto">'
        '<path d="M0,0 L10,4 L0,8 z" fill="#555"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    labels = []
    for (before, after), events in grouped().items():
        path, x, y = edge(before, after)
        parts.append(
            f'<path d="{path}" fill="none" stroke="#555" stroke-width="1.6" marker-end="url(#tip)"/>'
        )
        top = y - 8 * (len(events) - 1)
        for row, text in enumerate(events):
            labels.append(
                f'<text x="{x:.0f}" y="{top + 16 * row + 4:.0f}" font-size="13" text-anchor="middle" '
                f'fill="#333" stroke="white" stroke-width="4" paint-order="stroke">{escape(text)}</text>'
            )
    for state, (x, y) in PLACES.items():
        parts.append(
            f'<rect x="{x - BOX[0] / 2:.0f}" y="{y - BOX[1] / 2:.0f}" width="{BOX[0]}" height="{BOX[1]}" '
            f'rx="10" fill="{COLOURS[state]}" stroke="#555"/>'
            f'<text x="{x}" y="{y + 6}" font-size="18" text-anchor="middle">{escape(state.value)}</text>'
        )
    parts.append(
        f'<text x="24" y="{HEIGHT - 14}" font-size="13" fill="#333">In every state: {Event.LOST.value} → '
        f"{State.NO_CANDIDATE.value}</text>"
    )
    return "\n".join([*parts, *labels, "</svg>"]) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "link.svg").write_text(draw())
