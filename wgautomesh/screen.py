"""How answers of an agent look in a terminal. Pure: a report and a width in, lines out.

Nothing is lost on a narrow terminal but room: what does not fit goes on in the next line, long names and
addresses are cut in the middle.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Report = Mapping[str, Any]

WIDE = 110  # columns from which state and path have columns of their own
MIN_CELL = 8  # characters a name, an address or an endpoint keeps when room is short
_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
_COLOURS = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33}
_PLAIN = str.maketrans(
    {"●": "*", "◐": "+", "○": "o", "✗": "x", "·": "-", "…": "~", "↳": ">", "×": "x", "–": "-"}
)
_NATS = {
    "unknown": "NAT not known: one observer is too few",
    "none": "no NAT",
    "stable": "NAT with one port for all destinations",
    "changing": "NAT that changes ports: each destination sees another",
}


@dataclass(frozen=True, slots=True)
class Style:
    width: int = 80  # columns
    colour: bool = False
    unicode: bool = True

    def paint(self, text: str, colour: str) -> str:
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self.colour and text else text

    def finish(self, lines: Iterable[str]) -> list[str]:
        return [(line if self.unicode else line.translate(_PLAIN)).rstrip() for line in lines]


def status(report: Report, style: Style) -> list[str]:
    """The whole screen of `wgautomesh status` for one agent."""
    lines = _head(report, style)
    if report["peers"]:
        lines += ["", *_peers(report["peers"], style)]
    return style.finish(lines)


def explain(report: Report, style: Style, times: Mapping[float, str]) -> list[str]:
    """`times` tells by age when events were, as a person reads it."""
    peer = report["peer"]
    name = peer["name"] or peer["key"][:10] + "…"
    origin = f"a member by {peer.get('origin', FILE)}"
    since = f"{peer['state']} for {span(peer['since'])}"
    lines = wrap([style.paint(name, "bold"), peer["address"], peer["key"], origin], style.width)
    lines += wrap([style.paint(since, _mark(peer)[1]), *_facts(peer)], style.width)
    if peer["reason"]:
        lines += _wrap_words(f"why: {peer['reason']}", style.width, "     ")
    if report["next_try"] is not None:
        lines.append(f"{report['rounds']} rounds failed; next try in {span(report['next_try'])}")
    lines += ["", style.paint("candidates", "bold")]
    lines += _candidates(report["candidates"], style) or ["  none: nobody knows an endpoint"]
    lines += ["", style.paint("events", "bold")]
    for each in report["events"]:
        often = f" ({each['count']} × since {times[each['first']]})" if each["count"] > 1 else ""
        stamp = f"  {times[each['age']]}  "
        lines += _wrap_words(stamp + each["text"] + often, style.width, " " * len(stamp))
    return style.finish(lines)


def span(seconds: float | None) -> str:
    """A length of time in four or five characters."""
    if seconds is None:
        return "–"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds * 1000:.1f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"


def size(count: float) -> str:
    """Bytes in four characters at most, in powers of 1,024."""
    for unit in ("", "K", "M", "G"):
        if count < 1000:
            return f"{count:.1f}{unit}" if unit and count < 9.95 else f"{count:.0f}{unit}"
        count /= 1024
    return f"{count:.0f}T"


def width_of(text: str) -> int:
    """Columns on a terminal, without what only sets colours."""
    return sum(
        0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF")
        for each in _ESCAPE.sub("", text)
    )


def wrap(facts: Sequence[str], width: int, indent: str = "") -> list[str]:
    """Facts parted by dots, as many in a line as fit."""
    lines = [indent]
    for fact in facts:
        joined = lines[-1] + (" · " if lines[-1].strip() else "") + fact
        if width_of(joined) > width and lines[-1].strip():
            lines.append(indent + fact)
        else:
            lines[-1] = joined
    return [each for line in lines for each in _wrap_words(line, width, indent + "  ")]


# -- parts --------------------------------------------------------------------------------------------


def _head(report: Report, style: Style) -> list[str]:
    own = [style.paint(report["interface"], "bold")]
    if report["name"] or report["address"]:
        own.append(f"{report['name'] or ''} {report['address'] or ''}".strip())
    if report["key"]:
        own.append(report["key"])
    lines = wrap(own, style.width)
    if report["waiting"]:
        lines += _wrap_words(style.paint(report["waiting"], "yellow"), style.width, "  ")
    if not report["key"]:
        return lines
    gossip = report["gossip"]
    seen = ", ".join(report["public"])
    facts = [f"seen at {seen}" if seen else "nobody has said where it sees us"]
    facts += [str(_NATS.get(report["nat"])), str(report["mapping"] or "no port mapping")]
    if report["clock_back"] >= 60:
        facts.append(style.paint(f"our clock went back by {span(report['clock_back'])}", "red"))
    lines += wrap(facts, style.width, "  ")
    talking = gossip["in_step"] + gossip["behind"]
    health = [
        f"gossip on port {gossip['port']}, {'sealed' if gossip['sealed'] else 'without a secret'}",
        f"{gossip['in_step']} of {talking} in step" if gossip["open"] else style.paint("not open", "red"),
    ]
    lines += wrap(health, style.width, "  ")
    up, total = report["peers_connected"], report["peers_total"]
    lines.append("  " + style.paint(f"{up} of {total} connected", "green" if up == total else "yellow"))
    return lines


FILE = "the configuration"
_ORIGINS = {FILE: "file", "DNS": "DNS", "the configuration and DNS": "both"}


def _peers(peers: Sequence[Report], style: Style) -> list[str]:
    """One line a peer; the reason takes the place of what only a connected one has."""
    wide = style.width >= WIDE
    heads = ["NAME", "ADDRESS", "STATE" if wide else "LINK"]
    fronts = [[_name(each), each["address"], each["state"] if wide else _link(each)] for each in peers]
    if any(each.get("origin", FILE) != FILE for each in peers):
        heads.append("FROM")
        for each, front in zip(peers, fronts, strict=True):
            front.append(_ORIGINS.get(each.get("origin", FILE), "?"))
    details = ["PATH"] * wide + ["ENDPOINT", "RTT", "HEARD", "RX", "TX"]
    backs = {each["key"]: _details(each, wide) for each in peers if each["endpoint"]}
    widths = _widths([heads, *fronts]) + _widths([details, *backs.values()])
    joints, room = len(widths) - 1, style.width - 2
    gap = "  " if sum(widths) + 2 * joints <= room else " "
    _shrink(widths, [0, 1, len(heads) + wide], room - len(gap) * joints)
    left, right = widths[: len(heads)], widths[len(heads) :]
    figures = range(1 + wide, len(details))
    title = gap.join([_row(heads, left, gap), _row(details, right, gap, figures)])
    lines = ["  " + style.paint(title.rstrip(), "dim")]
    for peer, front in zip(peers, fronts, strict=True):
        mark, colour = _mark(peer)
        begin = f"{style.paint(mark, colour)} {_row(front, left, gap)}{gap}"
        back = backs.get(peer["key"])
        if back:
            lines.append(begin + _row(back, right, gap, figures))
            if peer["reason"]:
                lines += _wrap_words(f"  ↳ {peer['reason']}", style.width, "    ")
        else:
            lines += _wrap_words(begin + peer["reason"], style.width, " " * width_of(begin))
    return lines


def _name(peer: Report) -> str:
    return str(peer["name"] or peer["key"][:10] + "…")


def _link(peer: Report) -> str:
    """State and path in one word."""
    return str(peer["path"] or peer["state"])


def _details(peer: Report, wide: bool) -> list[str]:
    path = [str(peer["path"] or "–")] if wide else []
    path += [str(peer["endpoint"]), milliseconds(peer["rtt"]), span(peer["heard"])]
    return [*path, size(peer["rx_bytes"]), size(peer["tx_bytes"])]


def _mark(peer: Report) -> tuple[str, str]:
    if peer["state"] == "connected":
        return ("●", "green") if not peer["reason"] else ("◐", "yellow")
    if peer["state"] == "doubted":
        return "◐", "yellow"
    return ("○", "yellow") if peer["state"] == "trying" else ("✗", "red")


def _facts(peer: Report) -> list[str]:
    if not peer["endpoint"]:
        return []
    facts = [f"{peer['path']} at {peer['endpoint']}", f"RTT {milliseconds(peer['rtt'])}"]
    facts += [f"heard {span(peer['heard'])} ago"] if peer["heard"] is not None else []
    return [*facts, f"received {size(peer['rx_bytes'])}, sent {size(peer['tx_bytes'])}"]


def _candidates(rows: Sequence[Report], style: Style) -> list[str]:
    if not rows:
        return []
    heads = ["ENDPOINT", "KIND", "AGE", "FROM", "TRIED", "×", "OUTCOME"]
    cells = [
        [
            each["endpoint"],
            each["kind"],
            span(each["age"]),
            each["source_name"] or (each["source"][:10] + "…" if each["source"] else "here"),
            span(each["tried"]),
            str(each["tries"]),
            each["outcome"],
        ]
        for each in rows
    ]
    widths = _widths([heads, *cells])
    _shrink(widths, [0, 3, 6], style.width - 2 - 2 * (len(heads) - 1))
    lines = ["  " + style.paint(_row(heads, widths, "  ", (5,)).rstrip(), "dim")]
    return lines + ["  " + _row(each, widths, "  ", (5,)) for each in cells]


# -- tables -------------------------------------------------------------------------------------------


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(width_of, column)) for column in zip(*rows, strict=True)]


def _shrink(widths: list[int], elastic: Sequence[int], room: int) -> None:
    """Take from the widest of the elastic columns until all fit, or these have become too small."""
    while sum(widths) > room:
        widest = max(elastic, key=lambda column: widths[column])
        if widths[widest] <= MIN_CELL:
            return
        widths[widest] -= 1


def _row(cells: Sequence[str], widths: Sequence[int], gap: str, right: Iterable[int] = ()) -> str:
    shown = []
    for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        text = _cut(cell, width)
        space = " " * (width - width_of(text))
        shown.append(space + text if column in right else text + space)
    return gap.join(shown)


def _cut(text: str, width: int) -> str:
    """The text, or its beginning and end: keys and addresses differ in both."""
    if width_of(text) <= width:
        return text
    keep, tail = list(text), list(text[len(text) // 2 :])
    keep = keep[: len(text) // 2]
    while keep and width_of("".join(keep + tail)) > width - 1:
        (keep if len(keep) >= len(tail) else tail).pop(-1 if len(keep) >= len(tail) else 0)
    return "".join(keep) + "…" + "".join(tail)


def _wrap_words(line: str, width: int, indent: str) -> list[str]:
    """The line, gone on below where it is too long; `indent` stands before each further line."""
    if width_of(line) <= width:
        return [line]
    lines, current = [], ""
    for word in re.split(r"(?<=\S) (?=\S)", line):
        joined = f"{current} {word}" if current else word
        if current and width_of(joined) > width:
            lines.append(current)
            current = indent + word
        else:
            current = joined
    return [*lines, current]
