"""The picture beside the table: every server's figure over that of Node's socket.io, on a logarithmic scale."""

import math
from html import escape
from pathlib import Path

from bench.report import Run
from bench.rows import SERVERS, figures, middle

PICTURE = Path(__file__).parent.parent / "docs" / "performance.svg"
SHOWN = ("single.cpu", "burst.cpu", "steady.cpu", "steady.p99", "firehose.cpu", "enter.cpu", "idle.memory")
COLOURS = {"jobcast": "#1f6feb", "node": "#8b949e", "stock": "#d29922", "classic": "#bf5b4b", "floor-c": "#3fb950"}
LOW, HIGH = 0.02, 30.0
LEFT, WIDTH, BAR, GAP, TOP = 300, 900, 15, 20, 70
RIGHT = WIDTH - 110
STYLE = 'font-family="sans-serif" font-size="12" fill="#1f2328"'


def _x(ratio: float) -> float:
    share = math.log(min(max(ratio, LOW), HIGH) / LOW) / math.log(HIGH / LOW)
    return LEFT + share * (RIGHT - LEFT)


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'


def _bar(y: int, server: str, value: float, ratio: float, unit: str) -> list[str]:
    left, right = sorted((_x(1), _x(ratio)))
    label = f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    place = f'x="{left:.1f}" y="{y}" width="{max(right - left, 2):.1f}" height="{BAR - 3}"'
    beside, anchor = (6, "start") if ratio >= 1 else (-6, "end")
    return [
        f'<rect {place} fill="{COLOURS[server]}"/>',
        _text(_x(ratio) + beside, y + 10, label, anchor=anchor),
    ]


def _groups(run: Run) -> tuple[list[str], int]:
    """The bars, and how high they came to stand."""
    parts, y = [], TOP
    for figure in figures(run.sizes):
        base = middle(run.samples, "node", figure.key)
        if figure.key not in SHOWN or not base:
            continue
        parts.append(_text(10, y + 11, figure.title, weight="bold"))
        for server in COLOURS:
            value = middle(run.samples, server, figure.key)
            if value:
                parts += _bar(y, server, value, value / base, figure.unit)
                y += BAR
        y += GAP
    return parts, y


def _axis(height: int) -> list[str]:
    parts = []
    for ratio in (0.1, 1, 10):
        x = _x(ratio)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{height}" stroke="#d0d7de"/>')
        parts.append(_text(x, TOP - 14, f"{ratio:g}x", anchor="middle"))
    return parts


def _legend() -> list[str]:
    parts, x = [], 10
    for server, colour in COLOURS.items():
        parts.append(f'<rect x="{x}" y="32" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(x + 17, 42, SERVERS[server]))
        x += 40 + 7 * len(SERVERS[server])
    return parts


def draw(run: Run) -> str:
    """The picture as SVG. Without Node's figures there is nothing to draw against, and it stays empty."""
    bars, height = _groups(run)
    title = f"Cost over that of Node's socket.io, less is better. {run.command}, {run.day}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {STYLE}>',
            f"<title>{escape(title)}</title>",
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            _text(10, 20, title, weight="bold"),
            *_legend(),
            *_axis(height - GAP),
            *bars,
            "</svg>\n",
        ]
    )


def write_picture(run: Run) -> None:
    PICTURE.write_text(draw(run), encoding="utf-8")
