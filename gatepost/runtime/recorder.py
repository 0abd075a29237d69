"""Take what features in observe mode would have done off the path of mail.

Purpose: for each observation one log line, one metric and one row, without making mail wait for a
disk. `QueueRecorder.record` puts it in a queue; a thread of its own does the rest.
Format of the log line: ``observe tenant=… feature=… action=… queue_id=… from=<…> to=<…>
detail="…"``, on one line; ``tenant=-`` is mail of no tenant; ``queue_id``, ``to`` and ``detail``
are left out where unknown.
Limits: 20,000 observations wait in memory (some 10 MiB); further ones are counted as dropped. Rows
are written after 0.5 s or 500 of them, so a process that is killed loses less than a second of
them.
Errors: none. While the store is unavailable, rows are kept up to the limit and writing is tried
again after 1 s, then at growing intervals up to 30 s; log lines and metrics go on.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

from gatepost.errors import StoreUnavailable
from gatepost.modes import Observation
from gatepost.runtime.log import format_event, log_event
from gatepost.runtime.metrics import Metrics
from gatepost.store.interface import ObservationStore

CAPACITY = 20_000
BATCH = 500
FLUSH_S = 0.5
RETRY_FIRST_S = 1.0
RETRY_MAX_S = 30.0
STOP_S = 5.0

_log = logging.getLogger("gatepost.observe")


class QueueRecorder:
    """Implements `gatepost.modes.Recorder`."""

    def __init__(
        self,
        metrics: Metrics,
        open_store: Callable[[], ObservationStore] | None,
        *,
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the thread.

        Args:
            metrics: Where to count.
            open_store: Opens the store, on the recorder's own thread; None keeps no rows.
            capacity: Observations that may wait in the queue, and as many again for the store.
            clock: Monotonic time in seconds.
        """
        self._metrics = metrics
        self._open_store = open_store
        self._capacity = capacity
        self._clock = clock
        # SimpleQueue.put takes no lock that another thread can hold for long, and never waits.
        self._queue: queue.SimpleQueue[Observation | None] = queue.SimpleQueue()
        self._store: ObservationStore | None = None
        self._rows: list[Observation] = []
        self._flush_at = 0.0
        self._retry_s = 0.0
        self._count_stored = metrics.watch_recorder(self.waiting)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def record(self, observation: Observation) -> None:
        """Queue one observation; see `gatepost.modes.Recorder.record`."""
        if self._queue.qsize() >= self._capacity:
            self._metrics.dropped["queue"]()
        else:
            self._queue.put(observation)

    def waiting(self) -> int:
        """Return how many observations are not stored yet."""
        return self._queue.qsize() + len(self._rows)

    def stop(self, timeout_s: float = STOP_S) -> bool:
        """Write what waits and end the thread; tell whether that was done in time."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log_event(_log, logging.WARNING, "recorder-stop", not_stored=self.waiting())
            return False
        return True

    def _run(self) -> None:
        running = True
        while running:
            try:
                running = self._step()
            except Exception:
                # The thread must live, or the queue fills; what it choked on must go, or it
                # would choke on it again.
                _log.exception("recorder-failed")
                self._drop_rows()
        self._end()

    def _step(self) -> bool:
        """Take one observation or write what is due; tell whether there is more to come."""
        try:
            observation = self._queue.get(timeout=self._wait_s())
        except queue.Empty:
            self._flush()
            return True
        if observation is None:
            return False
        self._take(observation)
        if len(self._rows) >= BATCH or self._clock() >= self._flush_at:
            self._flush()
        return True

    def _wait_s(self) -> float | None:
        """Return how long to wait for the next observation: for ever if there are no rows."""
        return max(0.0, self._flush_at - self._clock()) if self._rows else None

    def _take(self, observation: Observation) -> None:
        self._metrics.observed(observation)
        _log.info("%s", format_observation(observation))
        if self._open_store is None:
            return
        if len(self._rows) >= self._capacity:
            self._metrics.dropped["store"]()
            return
        if not self._rows and not self._retry_s:
            self._flush_at = self._clock() + FLUSH_S
        self._rows.append(observation)

    def _flush(self) -> None:
        now = self._clock()
        if not self._rows or (self._retry_s and now < self._flush_at):
            return
        try:
            self._write()
        except StoreUnavailable as error:
            self._failed(error)
        else:
            if self._retry_s:
                log_event(_log, logging.INFO, "store-back")
            self._retry_s = 0.0

    def _write(self) -> None:
        if self._store is None and self._open_store is not None:
            self._store = self._open_store()
        while self._rows and self._store is not None:
            batch = self._rows[:BATCH]
            self._store.add(batch)
            # Only now: a batch that failed is tried again as a whole.
            del self._rows[: len(batch)]
            self._count_stored(len(batch))

    def _failed(self, error: StoreUnavailable) -> None:
        self._metrics.error("store")
        if not self._retry_s:
            log_event(
                _log,
                logging.WARNING,
                "store-unavailable",
                reason=str(error),
                waiting=self.waiting(),
            )
        self._retry_s = min(self._retry_s * 2 or RETRY_FIRST_S, RETRY_MAX_S)
        self._flush_at = self._clock() + self._retry_s

    def _drop_rows(self) -> None:
        for _ in self._rows:
            self._metrics.dropped["store"]()
        self._rows.clear()

    def _end(self) -> None:
        self._flush_at = 0.0
        self._flush()
        if self._rows:
            log_event(_log, logging.WARNING, "recorder-stop", not_stored=len(self._rows))
            self._drop_rows()
        if self._store is not None:
            self._store.close()


def format_observation(observation: Observation) -> str:
    """Return the log line of an observation."""
    return format_event(
        "observe",
        tenant=observation.tenant or "-",
        feature=observation.feature.value,
        action=observation.action,
        queue_id=observation.queue_id or None,
        **{"from": f"<{observation.sender}>"},
        to=f"<{observation.recipient}>" if observation.recipient else None,
        detail=observation.detail or None,
    )
