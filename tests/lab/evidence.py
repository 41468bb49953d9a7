"""What a failure leaves for whoever looks into it: one folder, and the timeline of the pair that failed.

Private and preshared keys never get in.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from .boxes import Box
from .lab import Lab
from .node import REPOSITORY, Node

FAILURES = REPOSITORY / "failures"
TIMELINE = 40  # lines of the failing pair to print

_SECRET = re.compile(r"^(gossip_secret\s*=).*$", re.MULTILINE)


def keep(lab: Lab, what: str, nodes: tuple[Node, ...] = ()) -> str:
    """Write the folder; to print: its path, and the timeline of these nodes (without names: of all)."""
    name = re.sub(r"[^\w.-]+", "-", what).strip("-")
    folder = FAILURES / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    for node in lab.nodes.values():
        _write(folder, f"{node.name}.agent.log", node.output())
        _write(folder, f"{node.name}.wireguard", node.wg.public_dump())
        if node.config.exists():
            _write(folder, f"{node.name}.toml", _SECRET.sub(r"\1 …", node.config.read_text()))
    for box in lab.net.boxes.values():
        _write(folder, f"{box.name}.network", _network(box))
    told = timeline(nodes or tuple(lab.nodes.values()))
    _write(folder, "timeline", "\n".join(told) + "\n")
    return "\n".join([f"evidence: {folder}", *told[-TIMELINE:]])


def timeline(nodes: tuple[Node, ...]) -> list[str]:
    """The nodes' log lines in one order of time; of a pair, those that concern the pair or nobody."""
    others = {name for node in nodes for name in _names(node)} - {node.name for node in nodes}
    lines = [
        (line.at, f"{node.name:>8} | {line}")
        for node in nodes
        for line in node.lines()
        if not any(line.text.startswith(f"{other} (") for other in others)
    ]
    return [text for _, text in sorted(lines)]


def _names(node: Node) -> set[str]:
    return (
        set(re.findall(r'^name = "(.+)"$', node.config.read_text(), re.MULTILINE))
        if node.config.exists()
        else set()
    )


def _network(box: Box) -> str:
    commands = ("ip -s address", "ip route", "ip -6 route", "nft list ruleset", "conntrack -L")
    return "".join(f"$ {each}\n{box.ns.run(*each.split(), check=False)}\n" for each in commands)


def _write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
