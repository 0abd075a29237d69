"""Take what features in observe mode would have done off the path of mail.

Purpose: for each observation one log line, one metric and one row, without making mail wait for a
disk; see `batches` for how, and for its limits.
Format of the log line: ``observe tenant=… feature=… action=… queue_id=… from=<…> to=<…>
detail="…"``, on one line; ``tenant=-`` is mail of no tenant; ``queue_id``, ``to`` and ``detail``
are left out where unknown.
Errors: none. While the store is unavailable, log lines and metrics go on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from gatepost.modes import Observation
from gatepost.runtime.batches import CAPACITY, BatchCounts, BatchThread
from gatepost.runtime.log import format_event
from gatepost.runtime.metrics import Metrics
from gatepost.store.interface import ObservationStore

_log = logging.getLogger("gatepost.observe")


class QueueRecorder(BatchThread[Observation]):
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
        counts = BatchCounts(
            metrics.watch_recorder(self.waiting),
            lambda reason: metrics.dropped[reason](),
            lambda: metrics.error("store"),
        )

        def seen(observation: Observation) -> None:
            metrics.observed(observation)
            _log.info("%s", format_observation(observation))

        super().__init__(
            "recorder", open_store, counts, _log, capacity=capacity, clock=clock, seen=seen
        )

    def record(self, observation: Observation) -> None:
        """Queue one observation; see `gatepost.modes.Recorder.record`."""
        self.put(observation)


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
