"""A line chart as SVG, for what a measurement shows better than a table.

Format: one panel above the other over a shared axis of time; a vertical axis is linear or
logarithmic. Readable on light and dark pages: its own background, no external fonts or scripts.
Errors: none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH = 860
_PANEL = 210
_GAP = 56
_LEFT = 76
_RIGHT = 24
_FONT = 'font-family="sans-serif" font-size="12"'
_COLOURS = ("#c0392b", "#1f618d", "#1e8449", "#7d6608")


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        name: For the legend.
        points: (x, y), by x.
        colour: Number of its colour, so that a line looks the same in all panels.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: int


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        title: What its vertical axis shows, with the unit.
        lines: What is drawn.
        low: Lower end of the vertical axis, above 0 for a logarithmic one.
        high: Upper end.
        logarithmic: Whether the axis is.
    """

    title: str
    lines: Sequence[Line]
    low: float
    high: float
    logarithmic: bool = True


def chart(title: str, x_title: str, x_end: float, panels: Sequence[Panel]) -> str:
    """Return the SVG.

    Args:
        title: Above all of it.
        x_title: What the axis of time shows, with the unit.
        x_end: Where it ends; it begins with 0.
        panels: From above to below.
    """
    height = 48 + len(panels) * (_PANEL + _GAP) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {_FONT}>',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(_LEFT, 24, title, size=15),
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, 60 + number * (_PANEL + _GAP), x_end)
    parts.append(_text(_WIDTH / 2, height - 10, x_title, anchor="middle"))
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _panel(panel: Panel, top: float, x_end: float) -> list[str]:
    right, bottom = _WIDTH - _RIGHT, top + _PANEL

    def x_of(x: float) -> float:
        return _LEFT + (right - _LEFT) * x / x_end

    def y_of(y: float) -> float:
        y = min(max(y, panel.low), panel.high)
        if panel.logarithmic:
            part = math.log(y / panel.low) / math.log(panel.high / panel.low)
        else:
            part = (y - panel.low) / (panel.high - panel.low)
        return bottom - _PANEL * part

    parts = [_text(_LEFT, top - 6, panel.title)]
    for tick in _ticks(panel):
        y = y_of(tick)
        parts.append(_rule(_LEFT, y, right, y))
        parts.append(_text(_LEFT - 6, y + 4, _number(tick), anchor="end"))
    for step in range(7):
        x = x_of(x_end * step / 6)
        parts.append(_rule(x, top, x, bottom))
        parts.append(_text(x, bottom + 16, f"{x_end * step / 6:.0f}", anchor="middle"))
    for number, line in enumerate(panel.lines):
        colour = _COLOURS[line.colour % len(_COLOURS)]
        points = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line.points)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        parts.append(_text(_LEFT + 8, top + 16 + 16 * number, line.name, colour=colour))
    return parts


def _ticks(panel: Panel) -> list[float]:
    if not panel.logarithmic:
        return [panel.low + (panel.high - panel.low) * step / 4 for step in range(5)]
    first = math.ceil(math.log10(panel.low) - 1e-9)
    return [10.0**power for power in range(first, math.floor(math.log10(panel.high)) + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#dddddd"/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, colour: str = "#222222"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{colour}">{escape(text)}</text>'
    )
