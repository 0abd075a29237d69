"""Keep the store small: once an hour, rows become counts, and old counts go.

Purpose: without it a busy platform would fill the disk with what features would have done.
Limits: those of `gatepost.store.interface`; the store is opened, and so made, at the start; the
first run is one minute later, so that a start is not slowed down and yet a process that is
restarted often gets to it.
Errors: none; a store that is not available is tried again an hour later, and counted.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable

from gatepost.errors import StoreUnavailable
from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import Metrics
from gatepost.store import ObservationStore
from gatepost.store.interface import KEEP_COUNTS_S, KEEP_ROWS_S

FIRST_S = 60.0
EVERY_S = 3600.0

_log = logging.getLogger("gatepost.store")


def tidy(store: ObservationStore, now: float) -> tuple[int, int]:
    """Fold old rows and delete old counts; return how many of each.

    Args:
        store: The store.
        now: Unix time in seconds.

    Raises:
        StoreUnavailable: If the store is.
    """
    return store.roll_up(now - KEEP_ROWS_S), store.prune(now - KEEP_COUNTS_S)


class Upkeep:
    """Runs `tidy` again and again, on a thread of its own, until `stop`."""

    def __init__(
        self,
        open_store: Callable[[], ObservationStore],
        metrics: Metrics,
        *,
        first_s: float = FIRST_S,
        every_s: float = EVERY_S,
    ) -> None:
        """Start the thread.

        Args:
            open_store: Opens the store, on the thread that uses it.
            metrics: Where failures are counted.
            first_s: Seconds until the first run.
            every_s: Seconds between two runs.
        """
        self._open_store = open_store
        self._metrics = metrics
        self._first_s = first_s
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Run no more; a run under way is not waited for, as each of its steps is whole."""
        self._stop.set()

    def _run(self) -> None:
        self._attempt(lambda _: None)
        wait_s = self._first_s
        while not self._stop.wait(wait_s):
            wait_s = self._every_s
            self._attempt(_tidy_and_tell)

    def _attempt(self, work: Callable[[ObservationStore], None]) -> None:
        try:
            with contextlib.closing(self._open_store()) as store:
                work(store)
        except StoreUnavailable as error:
            self._metrics.error("store")
            log_event(_log, logging.WARNING, "store-unavailable", reason=str(error))
        except Exception:
            self._metrics.error("upkeep")
            _log.exception("upkeep-failed")


def _tidy_and_tell(store: ObservationStore) -> None:
    began = time.monotonic()
    folded, deleted = tidy(store, time.time())
    seconds = time.monotonic() - began
    log_event(_log, logging.INFO, "upkeep", folded=folded, deleted=deleted, seconds=seconds)
