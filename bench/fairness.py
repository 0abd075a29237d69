"""Fifty equal tenants, of which one sends a thousand times as much: what is fair within one lane.

Purpose: Postfix takes the mail of one service in the order in which it came, whoever sent it, so
within a lane a tenant waits for whatever others have queued before it. What bounds that wait is
how much they may have in the queue; a lane of its own for the one that floods takes it away.
Source: `bench.isolation`, whose destination this is: about 180 messages a second.
Format: each of fifty tenants sends a message in 2.5 s, one of them 400 a second for a minute
(times ``GATEPOST_BENCH_SCALE``).
Errors: `LabError` or `LoadError` if something does not start.
"""

from __future__ import annotations

from bench.isolation import (
    SCALE,
    SINK,
    VARIANTS,
    Crowd,
    Flood,
    Lanes,
    flooded_rows,
    in_memory,
    measure,
    platform,
    quiet_row,
)
from bench.report import Row

SECONDS = 60.0 * SCALE
RATE = 400.0
CROWD = Crowd(50, 2.5)
CAP = 100
_VARIANTS: dict[str, Lanes | None] = {
    "one lane, no bound: plain Postfix": None,
    f"one lane, at most {CAP} messages of a tenant queued": Lanes({"backlog": CAP}, {}),
    "a burst lane for it": VARIANTS["burst lane"],
}


def run() -> list[Row]:
    """Measure, and return the rows."""
    rows: list[Row] = []
    with in_memory() as directory:
        with platform(directory / "alone" / "x", CROWD, None):
            alone = measure(directory / "alone" / "x", CROWD, None)
        rows.append(quiet_row("fifty equal tenants", alone))
        for number, (name, lanes) in enumerate(_VARIANTS.items()):
            place = directory / f"v{number}" / "x"
            with platform(place, CROWD, lanes):
                flood = Flood(SINK, SECONDS, 1_000_000, RATE, RATE)
                flooded = measure(place, CROWD, flood)
            rows += flooded_rows(name, alone, flooded, lanes)
    return rows
