"""Makes the pictures in docs/: what the commands show of a mesh with some trouble (as root).

python -m tests.lab.pictures; needs rsvg-convert (Debian: librsvg2-bin).
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from xml.sax.saxutils import escape

from .lab import Lab
from .node import REPOSITORY, Node
from .topology import Host, Nat, Router, Topology

DOCS = REPOSITORY / "docs"
SCENE = Topology(
    (
        Host("hub"),
        Host("mirror"),
        Router("north", (Host("alice"),)),
        Router("south", (Host("bob"),), nat=Nat.SYMMETRIC),
        Router("home", (Host("carol"), Host("dave"))),
        Host("erin"),
        Host("frank"),
    ),
    delay=0.015,
)
LETTER, LINE, MARGIN = 8.4, 19.0, 14.0  # px
COLOURS = {"1": "#ffffff", "2": "#8b949e", "31": "#ff7b72", "32": "#56d364", "33": "#e3b341"}
PLAIN, BACK = "#c9d1d9", "#0d1117"
_COLOURED = re.compile(r"\x1b\[([0-9;]*)m")


def capture(node: Node, *command: str, columns: int) -> str:
    """What the command writes on a terminal of this width, colours and all."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 50, columns, 0, 0))
    program = (sys.executable, "-m", "wgautomesh", *command, "--socket", str(node.control))
    environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(REPOSITORY)}
    environment.pop("NO_COLOR", None)
    environment.pop("COLUMNS", None)
    running = subprocess.Popen(program, stdout=theirs, env=environment, cwd="/")
    os.close(theirs)
    heard = b""
    try:
        while more := os.read(ours, 4096):
            heard += more
    except OSError:  # EIO: the other end is closed
        pass
    os.close(ours)
    running.wait()
    return heard.decode().replace("\r\n", "\n").rstrip("\n")


def terminal(command: str, text: str, columns: int) -> str:
    """An SVG of a terminal with this text in it."""
    lines = [f"\x1b[2m$\x1b[0m \x1b[1m{command}\x1b[0m", *text.split("\n")]
    width, height = columns * LETTER + 2 * MARGIN, len(lines) * LINE + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}">',
        "<style>text{font-family:'DejaVu Sans Mono',monospace;font-size:14px;white-space:pre}</style>",
        f'<rect width="100%" height="100%" rx="6" fill="{BACK}"/>',
    ]
    for row, line in enumerate(lines):
        column, colour = 0, PLAIN
        pieces = _COLOURED.split(line)
        for number, piece in enumerate(pieces):
            if number % 2:
                colour = COLOURS.get(piece, PLAIN)
            elif piece:
                x, y = MARGIN + column * LETTER, MARGIN + (row + 0.75) * LINE
                parts.append(
                    f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" textLength="{len(piece) * LETTER:.1f}" '
                    f'xml:space="preserve">{escape(piece)}</text>'
                )
                column += len(piece)
    return "\n".join([*parts, "</svg>\n"])


def keep(name: str, svg: str) -> None:
    """The SVG, and a PNG of it at twice the size."""
    path = DOCS / f"{name}.svg"
    path.write_text(svg)
    png = str(path.with_suffix(".png"))
    subprocess.run(["rsvg-convert", "--zoom", "1.5", "-o", png, str(path)], check=True)
    if not name.startswith("graph"):
        path.unlink()


def main() -> None:
    with Lab(SCENE) as lab:
        hub = lab["hub"].public_endpoint()
        preset = {"hub": hub, "mirror": lab["mirror"].public_endpoint()}
        nodes = list(lab.nodes.values())
        for node in nodes:
            node.configure(nodes, {**preset, "erin": lab["erin"].public_endpoint()})
        lab["erin"].configure(nodes, preset, gossip_secret="another")  # noqa: S106
        lab.start()
        lab.until_meshed("hub", "mirror", "alice", "carol", "dave", within=30)
        lab.until_connected(lab["carol"], lab["frank"], within=30)
        lab["frank"].kill()
        lab["frank"].wg.delete()
        carol = lab["carol"]
        lab.until(
            lambda: (
                "seems to be down" in (carol.reason(lab["frank"]) or "")
                and "its NAT changes" in (carol.reason(lab["bob"]) or "")
                and "another gossip secret" in (carol.reason(lab["erin"]) or "")
            ),
            within=90,
            what="all troubles have their reasons",
        )
        for other in ("alice", "dave", "hub"):
            carol.ping(lab[other], count=20)
        time.sleep(5)
        for columns in (80, 160):
            text = capture(carol, "status", columns=columns)
            keep(f"status-{columns}", terminal("wgautomesh status", text, columns))
        text = capture(carol, "explain", "bob", columns=110)
        keep("explain", terminal("wgautomesh explain bob", text, 110))
        keep("graph", carol.ask("graph")[1])


if __name__ == "__main__":
    main()
