"""Keep the store small: once an hour, rows become counts, and old counts go.

Purpose: without it a busy platform would fill the disk with what features would have done.
Limits: those of `gatepost.store.interface`, and of `gatepost.runtime.hourly`; the store is opened,
and so made, at the start.
Errors: none; a store that is not available is tried again an hour later, and counted.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable

from gatepost.runtime.hourly import EVERY_S, FIRST_S, Hourly
from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import Metrics
from gatepost.store import ObservationStore
from gatepost.store.interface import KEEP_COUNTS_S, KEEP_ROWS_S

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


class Upkeep(Hourly):
    """Runs `tidy` again and again; makes the store at the start."""

    def __init__(
        self,
        open_store: Callable[[], ObservationStore],
        metrics: Metrics,
        *,
        first_s: float = FIRST_S,
        every_s: float = EVERY_S,
    ) -> None:
        """Start.

        Args:
            open_store: Opens the store, on the thread that uses it.
            metrics: Where failures are counted.
            first_s: Seconds until the first run.
            every_s: Seconds between two runs.
        """
        self._open_store = open_store
        super().__init__(
            "upkeep",
            self._tidy_and_tell,
            metrics,
            first_s=first_s,
            every_s=every_s,
            at_start=lambda: self._open_store().close(),
        )

    def _tidy_and_tell(self) -> None:
        began = time.monotonic()
        with contextlib.closing(self._open_store()) as store:
            folded, deleted = tidy(store, time.time())
        seconds = time.monotonic() - began
        log_event(_log, logging.INFO, "upkeep", folded=folded, deleted=deleted, seconds=seconds)
