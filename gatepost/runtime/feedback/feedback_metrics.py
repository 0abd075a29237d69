"""The metrics of what comes back: the message book, the intake, what was made of reports.

Source: see `metrics`, whose registry they are in.
Errors: counting never raises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import Counter, Gauge

from gatepost.feedback.report import Kind
from gatepost.feedback.trust import Result
from gatepost.runtime.batches import BatchCounts
from gatepost.runtime.metrics import MAX_VALUES, PREFIX, Metrics, Tally


def watch_book(metrics: Metrics, waiting: Callable[[], int]) -> BatchCounts:
    """Export what becomes of messages on their way to the book.

    Args:
        metrics: Of the role.
        waiting: Returns how many wait to be stored.
    """
    Gauge(
        f"{PREFIX}book_queued", "Messages that wait to be in the book.", registry=metrics.registry
    ).set_function(waiting)
    stored = Counter(
        f"{PREFIX}book_stored", "Messages written to the book.", registry=metrics.registry
    )
    dropped = Tally(
        Counter(
            f"{PREFIX}book_dropped",
            "Messages that are not in the book, by reason.",
            ["reason"],
            registry=metrics.registry,
        ),
        limit=MAX_VALUES,
    )
    dropped.expect("queue", "store")
    return BatchCounts(stored.inc, lambda reason: dropped[reason](), lambda: metrics.error("store"))


@dataclass(frozen=True, slots=True)
class IntakeMetrics:
    """What the intake counts.

    Attributes:
        mails: Mails that were handed over, by result: ``taken``, ``later``, ``refused``.
        reports: Reports that were dealt with; keys such as ``("complaint", "believed")``.
        quarantined: Mails that were put into quarantine, by reason.
        restarts: Reading processes that ended before their time, by reason.
    """

    mails: Tally
    reports: Tally
    quarantined: Tally
    restarts: Tally


def watch_intake(
    metrics: Metrics, waiting: Callable[[], int], quarantined: Callable[[], int]
) -> IntakeMetrics:
    """Export what the intake does.

    Args:
        metrics: Of the role.
        waiting: Returns how many mails wait to be read.
        quarantined: Returns how many lie in quarantine.
    """
    for name, text, count in (
        ("intake_waiting", "Mails that came back and wait to be read.", waiting),
        ("intake_quarantined", "Mails that lie in quarantine.", quarantined),
    ):
        Gauge(f"{PREFIX}{name}", text, registry=metrics.registry).set_function(count)

    def tally(name: str, text: str, *labels: str) -> Tally:
        counter = Counter(f"{PREFIX}{name}", text, labels, registry=metrics.registry)
        return Tally(counter, width=len(labels), limit=MAX_VALUES * len(labels))

    found = IntakeMetrics(
        tally("intake_mails", "Mails that Postfix handed over, by result.", "result"),
        tally("feedback_reports", "Reports, by kind and what became of them.", "kind", "result"),
        tally("intake_quarantine", "Mails put into quarantine, by reason.", "reason"),
        tally("intake_reader_ends", "Reading processes that ended early, by reason.", "reason"),
    )
    found.mails.expect("taken", "later", "refused")
    found.reports.expect(
        *((kind.value, Result.BELIEVED.value) for kind in (Kind.COMPLAINT, Kind.BOUNCE))
    )
    return found


def watch_unsubscribe(metrics: Metrics) -> Tally:
    """Export the answers to one-click unsubscriptions, by result."""
    counter = Counter(
        f"{PREFIX}unsubscribe_requests",
        "Requests to the address of one-click unsubscriptions, by result.",
        ["result"],
        registry=metrics.registry,
    )
    found = Tally(counter, limit=MAX_VALUES)
    found.expect("unsubscribed", "asked", "not-found", "later")
    return found


def files_in(directory: Path) -> int:
    """Return how many files a directory holds; 0 if it cannot be read."""
    try:
        return sum(1 for _ in directory.iterdir())
    except OSError:
        return 0
