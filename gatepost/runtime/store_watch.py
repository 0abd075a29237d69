"""Look at the store again and again, for what a process keeps of it in memory.

Purpose: an answer to mail must not wait for the store; what it needs is read beside it, and only
when it has changed.
Limits: 1 s between two looks, 2 s for the first one at the start. Once a minute all is read, for a
database that was put in the place of another.
Errors: none. While the store cannot be read, what was last known stays in force; that is told and
counted once, and told again when it is over.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from gatepost.errors import StoreUnavailable
from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.repeated import Repeated

EVERY_S = 1.0
FIRST_S = 2.0
WHOLE_EVERY_S = 60.0


class VersionedStore(Protocol):
    """A store that tells cheaply whether it has changed."""

    def version(self) -> int:
        """Return a number that changes with the data."""

    def close(self) -> None:
        """Close the connection of the calling thread."""


StoreT = TypeVar("StoreT", bound=VersionedStore)


class StoreWatch(Generic[StoreT]):
    """Reads until `stop`; to be started when its owner is ready for it.

    Attributes:
        version: Of what is in force, as the store has it; None if that is not sure.
        failing: Whether the last look failed.
    """

    def __init__(
        self,
        name: str,
        open_store: Callable[[], StoreT],
        read: Callable[[StoreT], None],
        metrics: Metrics,
        log: logging.Logger,
        *,
        unknown: Callable[[str], None],
        known: Callable[[], None],
        each_time: Callable[[StoreT], None] = lambda _store: None,
        every_s: float,
        clock: Callable[[], float],
    ) -> None:
        """Remember what to do.

        Args:
            name: Of the thread, and of its log lines.
            open_store: Opens the store, on the thread that uses it.
            read: Reads the store when it has changed, on the thread.
            metrics: Where failures are counted.
            log: Where a bug is told, and that the first look takes long.
            unknown: Tells why the store cannot be read.
            known: Tells that it can be read again.
            each_time: Reads from the store what its version does not tell of, likewise.
            every_s: Seconds between two looks.
            clock: Monotonic time in seconds.
        """
        self.version: int | None = None
        self.failing = False
        self._name = name
        self._open_store = open_store
        self._read = read
        self._metrics = metrics
        self._log = log
        self._unknown = unknown
        self._known = known
        self._each_time = each_time
        self._clock = clock
        self._store: StoreT | None = None
        self._whole_at = 0.0
        self._looked = threading.Event()
        self._thread = Repeated(name, self._look, self._fail, every_s=every_s, at_end=self._close)

    def start(self, first_s: float) -> None:
        """Start the thread, and wait for its first look.

        Args:
            first_s: Seconds to wait for it.
        """
        self._thread.start()
        if not self._looked.wait(first_s):
            event = f"{self._name}-unknown"
            log_event(self._log, logging.WARNING, event, reason="the store is slow")

    def stop(self, timeout_s: float) -> None:
        """End the thread; wait so many seconds for it."""
        self._thread.stop(timeout_s)

    def _look(self) -> None:
        if self._store is None:
            self._store = self._open_store()
        version, now = self._store.version(), self._clock()
        if version != self.version or now >= self._whole_at:
            self._whole_at = now + WHOLE_EVERY_S
            self._read(self._store)
        self._each_time(self._store)
        # Last: whoever waits for a version finds it in force.
        self.version = version
        if self.failing:
            self._known()
        self.failing = False
        self._looked.set()

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, StoreUnavailable):
            self._log.exception("%s-failed", self._name)
        # A file that is put in the place of another may have the same version.
        self.version = None
        if not self.failing:
            self._metrics.error("store")
            self._unknown(str(error))
        self.failing = True
        self._looked.set()

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
