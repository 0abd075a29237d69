"""The status of tenants in memory, for the processes that answer mail.

Purpose: an answer is one look into a dict; a thread asks the store every second whether anything
has changed, so that a pause or a resume is in force a second later in every process.
Limits: 1 s between two looks, 2 s for the first one at the start. Once a minute all is read, for a
database that was put in the place of another.
Errors: none. While the store cannot be read, what was last known stays in force, and a pause ends
at its time all the same; a process that starts meanwhile takes all tenants for normal, logs
``status-unknown``, and counts an error.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from gatepost.errors import StoreUnavailable
from gatepost.feedback.status import NO_STATUSES, NORMAL, Status, Statuses
from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import Metrics
from gatepost.store.tenant_status import TenantStatusStore

EVERY_S = 1.0
FIRST_S = 2.0
WHOLE_EVERY_S = 60.0

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
        self._open_store = open_store
        self._metrics = metrics
        self._every_s = every_s
        self._store: TenantStatusStore | None = None
        self._statuses: Statuses = NO_STATUSES
        self._version: int | None = None
        self._clock = clock
        self._whole_at = 0.0
        self._failed = False
        self._looked = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)
        self._thread.start()
        if not self._looked.wait(first_s):
            log_event(_log, logging.WARNING, "status-unknown", reason="the store is slow")

    def current(self) -> Statuses:
        """Return the status of every tenant that has one; the mapping never changes."""
        return self._statuses

    def of(self, tenant: str) -> Status:
        """Return the status of a tenant."""
        return self._statuses.get(tenant, NORMAL)

    def version(self) -> int | None:
        """Return the version of what is in force, as the store has it; None if it is not sure."""
        return self._version

    def stop(self, timeout_s: float = FIRST_S) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._look()
            except StoreUnavailable as error:
                self._fail(str(error))
            except Exception as error:
                # The thread must live.
                _log.exception("status-failed")
                self._fail(str(error))
            else:
                self._fine()
            self._looked.set()
            self._stop.wait(self._every_s)
        if self._store is not None:
            self._store.close()

    def _look(self) -> None:
        if self._store is None:
            self._store = self._open_store()
        version = self._store.version()
        if version != self._version or self._clock() >= self._whole_at:
            self._whole_at = self._clock() + WHOLE_EVERY_S
            self._statuses = self._store.all()
            # Last: whoever waits for a version finds it in force.
            self._version = version

    def _fail(self, reason: str) -> None:
        # A file that is put in the place of another may have the same version.
        self._version = None
        if not self._failed:
            self._metrics.error("store")
            log_event(
                _log,
                logging.WARNING,
                "status-unknown",
                reason=reason,
                in_force=len(self._statuses),
            )
        self._failed = True

    def _fine(self) -> None:
        if self._failed:
            log_event(_log, logging.INFO, "status-known", in_force=len(self._statuses))
        self._failed = False
