"""Work that is done again and again beside everything else, on a thread of its own.

Purpose: what keeps the store small and what watches the evidence share how often they run, how they
end, and what becomes of their failures.
Limits: once an hour unless told otherwise; the first run one minute after the start, so that a
start is not slowed down and yet a process that is restarted often gets to it.
Errors: none; a failure is counted, and the work is tried again when its turn comes. It is logged,
but the same one in a row only once an hour: some work is done every two seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from gatepost.errors import StoreUnavailable
from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.repeated import Repeated

FIRST_S = 60.0
EVERY_S = 3600.0

_log = logging.getLogger("gatepost.store")


class Hourly:
    """Runs `work` until `stop`."""

    def __init__(
        self,
        name: str,
        work: Callable[[], None],
        metrics: Metrics,
        *,
        first_s: float = FIRST_S,
        every_s: float = EVERY_S,
        at_start: Callable[[], None] | None = None,
    ) -> None:
        """Start the thread.

        Args:
            name: Of the thread, of its failures' log line, and of their kind in the metrics.
            work: What is done; may raise.
            metrics: Where failures are counted.
            first_s: Seconds until the first run.
            every_s: Seconds between two runs.
            at_start: What is done once, at once.
        """
        self._name = name
        self._work = work
        self._metrics = metrics
        self._told = ""
        self._tell_at = 0.0
        self._thread = Repeated(
            name,
            self._run,
            self._failed,
            every_s=every_s,
            first_s=first_s,
            at_start=at_start,
        )
        self._thread.start()

    def stop(self) -> None:
        """Run no more; a run under way is not waited for, as each of its steps is whole."""
        self._thread.stop()

    def _run(self) -> None:
        self._work()
        self._told = ""

    def _failed(self, error: Exception) -> None:
        if isinstance(error, StoreUnavailable):
            self._metrics.error("store")
            if self._is_news(str(error)):
                log_event(_log, logging.WARNING, "store-unavailable", reason=str(error))
        else:
            self._metrics.error(self._name)
            if self._is_news(repr(error)):
                _log.exception("%s-failed", self._name)

    def _is_news(self, trouble: str) -> bool:
        now = time.monotonic()
        if trouble == self._told and now < self._tell_at:
            return False
        self._told, self._tell_at = trouble, now + EVERY_S
        return True
