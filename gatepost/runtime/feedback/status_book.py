"""The status of tenants in memory, for the processes that answer mail.

Purpose: an answer is one look into a dict; a thread asks the store every second whether anything
has changed, so that a pause or a resume is in force a second later in every process.
Limits: those of `gatepost.runtime.store_watch`.
Errors: none. While the store cannot be read, what was last known stays in force, and a pause ends
at its time all the same; a process that starts meanwhile takes all tenants for normal, logs
``status-unknown``, and counts an error.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from gatepost.feedback.status import NO_STATUSES, NORMAL, Status, Statuses
from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.store_watch import EVERY_S, FIRST_S, StoreWatch
from gatepost.store.tenant_status import TenantStatusStore

_log = logging.getLogger("gatepost.status")


class StatusBook:
    """What is known of all tenants that are anything but normal."""

    def __init__(
        self,
        open_store: Callable[[], TenantStatusStore],
        metrics: Metrics,
        *,
        every_s: float = EVERY_S,
        first_s: float = FIRST_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the thread, and wait for its first look.

        Args:
            open_store: Opens the store, on the thread that uses it.
            metrics: Where failures are counted.
            every_s: Seconds between two looks.
            first_s: Seconds to wait for the first one.
            clock: Monotonic time in seconds.
        """
        self._statuses: Statuses = NO_STATUSES
        self._watch = StoreWatch(
            "status",
            open_store,
            self._read,
            metrics,
            _log,
            unknown=self._tell_unknown,
            known=self._tell_known,
            every_s=every_s,
            clock=clock,
        )
        self._watch.start(first_s)

    def current(self) -> Statuses:
        """Return the status of every tenant that has one; the mapping never changes."""
        return self._statuses

    def of(self, tenant: str) -> Status:
        """Return the status of a tenant."""
        return self._statuses.get(tenant, NORMAL)

    def version(self) -> int | None:
        """Return the version of what is in force, as the store has it; None if it is not sure."""
        return self._watch.version

    def stop(self, timeout_s: float = FIRST_S) -> None:
        """End the thread."""
        self._watch.stop(timeout_s)

    def _read(self, store: TenantStatusStore) -> None:
        self._statuses = store.all()

    def _tell_unknown(self, reason: str) -> None:
        count = len(self._statuses)
        log_event(_log, logging.WARNING, "status-unknown", reason=reason, in_force=count)

    def _tell_known(self) -> None:
        log_event(_log, logging.INFO, "status-known", in_force=len(self._statuses))
