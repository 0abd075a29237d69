"""The story: one tenant grows from 10 thousand to 10 million messages a day beside twenty others.

Purpose: what the others notice, as a chart: ``docs/growth.svg``, which this measurement writes.
Source: `bench.isolation`, whose tenants and destination these are.
Format: the growth is exponential over two minutes (times ``GATEPOST_BENCH_SCALE``), and the rates
are 3.46 times as high as the days' averages, so that 10 million a day are 400 a second, twice what
the destination takes: the replay takes no account of nights, and a real day has its peaks. Delays
are the worst of the quiet tenants' messages sent within three seconds.
Errors: `LabError` or `LoadError` if something does not start.
"""

from __future__ import annotations

import math
from pathlib import Path

from bench.chart import Line, Panel, chart
from bench.isolation import CROWD, SCALE, SINK, VARIANTS, Flood, in_memory, measure, platform
from bench.report import Row

SECONDS = 120.0 * SCALE
LAST = 400.0
FIRST = LAST / 1_000
A_DAY = 10_000_000
_STEP_S = 3.0
_CHART = Path(__file__).resolve().parent.parent / "docs" / "growth.svg"


def run() -> list[Row]:
    """Measure, write the chart, and return the rows."""
    rows = []
    delays: list[Line] = []
    rates = [Line("sent", [(t, _rate(t)) for t in range(0, int(SECONDS) + 1, 2)], 3)]
    with in_memory() as directory:
        for number, (name, lane) in enumerate(VARIANTS.items()):
            place = directory / f"v{number}" / "x"
            with platform(place, CROWD, lane):
                flood = Flood(SINK, SECONDS, A_DAY, FIRST, LAST, recognised_s=0)
                result = measure(place, CROWD, flood)
            worst = _worst(result.sent, result.began)
            delays.append(Line(name, worst, number))
            value = f"the worst delay of a quiet tenant {max(y for _, y in worst):.2f} s"
            rows.append(Row(f"{name}: 10 thousand to 10 million a day", value))
    panels = [
        Panel("One tenant grows: messages a day, as they are sent", rates, 1e4, 1e7),
        Panel("Worst delay of the twenty others, seconds", delays, 0.05, 100.0),
    ]
    _CHART.write_text(
        chart("What the others notice", "seconds of the replay", SECONDS, panels), encoding="utf-8"
    )
    return [*rows, Row("chart", str(_CHART.relative_to(_CHART.parent.parent)))]


def _rate(at: float) -> float:
    """Return how many messages a day are sent at a second of the replay."""
    return A_DAY / 1_000 * math.exp(math.log(1_000) * at / SECONDS)


def _worst(sent: list[tuple[float, float]], began: float) -> list[tuple[float, float]]:
    """Return the worst delay of each few seconds."""
    worst: dict[int, float] = {}
    for at, delay in sent:
        step = int((at - began) // _STEP_S)
        if 0 <= step < SECONDS // _STEP_S:
            worst[step] = max(worst.get(step, 0.0), delay)
    return [((step + 0.5) * _STEP_S, worst[step]) for step in sorted(worst)]
