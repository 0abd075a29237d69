"""The suppression list in running processes: opened, counted, kept small, its events sent off.

Purpose: make the database before the first mail comes, so that the check at RCPT TO has
only to read; write events off the path of mail.
Limits: see `store.suppression_lookup` and `batches`.
Errors: none: a list that cannot be opened is tried again with each question, once a second.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from prometheus_client import Counter, Gauge

from gatepost.errors import StoreUnavailable
from gatepost.feedback.events import Event
from gatepost.runtime.batches import BatchCounts, BatchThread
from gatepost.runtime.hourly import Hourly
from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import MAX_VALUES, PREFIX, Metrics, Tally
from gatepost.snapshot import Snapshot
from gatepost.store.open import open_events, open_lookup, open_suppression

RESULTS = ("clear", "suppressed", "unknown")

_log = logging.getLogger("gatepost.suppression")


class SuppressionDesk:
    """What the policy server needs to refuse suppressed recipients.

    Attributes:
        lookup: Answers, on the thread of the event loop alone.
    """

    def __init__(self, url: str, metrics: Metrics, local: str = "") -> None:
        """Open it, and start the thread that writes events.

        Args:
            url: Of the store.
            metrics: Where to count.
            local: Of the store of what is this node's alone.
        """
        self._checks = Tally(_counter(metrics, "suppression_checks", _CHECKS), limit=MAX_VALUES)
        self._checks.expect(*RESULTS)
        self._events = _event_thread(url, metrics)
        try:
            open_suppression(url, local=local).close()
        except StoreUnavailable as error:
            log_event(_log, logging.WARNING, "suppression-unavailable", reason=str(error))
        self.lookup = open_lookup(url, time.monotonic, local=local)

    def count(self, result: str) -> None:
        """Count a recipient that was looked up."""
        self._checks[result]()

    def tell(self, event: Event) -> None:
        """Have an event written soon."""
        self._events.put(event)

    def status(self) -> dict[str, Any]:
        """Return what ``gatepost status`` shows."""
        return {"problem": self.lookup.problem or ""}

    def close(self) -> None:
        """Write what waits, and close; on the thread of the event loop."""
        self.lookup.close()
        self._events.stop()


class SuppressionUpkeep(Hourly):
    """Deletes, once an hour, what has ended."""

    def __init__(self, url: str, current: Callable[[], Snapshot], metrics: Metrics) -> None:
        """Start the thread.

        Args:
            url: Of the store.
            current: Gives the snapshot in force.
            metrics: Where failures are counted.
        """
        self._url = url
        self._current = current
        super().__init__("suppression-upkeep", self.prune, metrics)

    def prune(self) -> None:
        """Delete what has ended.

        Raises:
            StoreUnavailable: If the store is.
        """
        with contextlib.closing(open_suppression(self._url)) as store:
            ended = store.prune(time.time(), self._current().suppression)
        log_event(_log, logging.INFO, "suppression-upkeep", ended=ended)


_CHECKS = "Recipients that were looked up in the suppression list, by result."


def _counter(metrics: Metrics, name: str, text: str, label: str = "result") -> Counter:
    return Counter(f"{PREFIX}{name}", text, [label], registry=metrics.registry)


def _event_thread(url: str, metrics: Metrics) -> BatchThread[Event]:
    stored = Counter(
        f"{PREFIX}suppression_events_stored",
        "Events of suppressed recipients written to the store.",
        registry=metrics.registry,
    )
    dropped = Tally(
        _counter(
            metrics,
            "suppression_events_dropped",
            "Events of suppressed recipients that were not stored, by reason.",
            "reason",
        ),
        limit=MAX_VALUES,
    )
    dropped.expect("queue", "store")
    counts = BatchCounts(
        stored.inc, lambda reason: dropped[reason](), lambda: metrics.error("store")
    )
    thread: BatchThread[Event] = BatchThread(
        "suppression-events", lambda: open_events(url), counts, _log
    )
    Gauge(
        f"{PREFIX}suppression_events_queued",
        "Events of suppressed recipients that wait to be stored.",
        registry=metrics.registry,
    ).set_function(thread.waiting)
    return thread
