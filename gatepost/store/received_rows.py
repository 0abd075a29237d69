"""The rows of what came back, which are the same in every database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gatepost.store.received import MAX_TEXT, Received
from gatepost.store.text import storable

COLUMNS = "id, at, kind, format, reporter, result, reason, tenant, message, events"


def received_row(report: Received) -> tuple[str | float, ...]:
    """Return the `COLUMNS` of a report."""
    texts = (
        *(report.kind, report.format, report.reporter, report.result),
        *(report.reason, report.tenant, report.message),
    )
    return (
        report.id,
        report.at,
        *(storable(text[:MAX_TEXT]) for text in texts),
        " ".join(report.events),
    )


def received_of(row: Sequence[Any]) -> Received:
    """Return the report of a row, its `COLUMNS`."""
    return replace(Received(*row[:-1]), events=tuple(row[-1].split()))
