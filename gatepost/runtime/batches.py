"""Write things to the store in batches, off the path of mail.

Purpose: mail must not wait for a disk. `put` places something in a queue; a thread of its own
writes it. What features in observe mode would have done and which messages were accepted go to the
store in this way.
Limits: 20,000 things wait in the queue and as many again for the store (some 10 MiB each); further
ones are counted as dropped. A batch is written after 0.5 s or with 500 things, so a process that is
killed loses less than a second of them.
Errors: none. While the store is unavailable, things are kept up to the limit and writing is tried
again after 1 s, then at growing intervals up to 30 s.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from gatepost.errors import StoreUnavailable
from gatepost.runtime.log import log_event

CAPACITY = 20_000
BATCH = 500
FLUSH_S = 0.5
RETRY_FIRST_S = 1.0
RETRY_MAX_S = 30.0
STOP_S = 5.0

ThingT = TypeVar("ThingT")
_ThingT_contra = TypeVar("_ThingT_contra", contravariant=True)


class BatchStore(Protocol[_ThingT_contra]):
    """Where batches go."""

    def add(self, things: Sequence[_ThingT_contra], /) -> object:
        """Store all of them or, with `StoreUnavailable`, none."""

    def close(self) -> None:
        """Close the connection of the calling thread."""


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """Where to count what becomes of things.

    Attributes:
        stored: Takes how many were stored.
        dropped: Counts one that was not: ``"queue"`` or ``"store"`` says for want of what.
        error: Counts one failure of the store.
    """

    stored: Callable[[int], None]
    dropped: Callable[[str], None]
    error: Callable[[], None]


class BatchThread(Generic[ThingT]):
    """Writes what is put in."""

    def __init__(
        self,
        name: str,
        open_store: Callable[[], BatchStore[ThingT]] | None,
        counts: BatchCounts,
        log: logging.Logger,
        *,
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.monotonic,
        seen: Callable[[ThingT], None] | None = None,
        gather_s: float = 0.0,
    ) -> None:
        """Start the thread.

        Args:
            name: Of the thread, and of its log lines.
            open_store: Opens the store, on this thread; None keeps nothing.
            counts: Where to count.
            log: Where trouble is told.
            capacity: Things that may wait in the queue, and as many again for the store.
            clock: Monotonic time in seconds.
            seen: Called for each thing, on this thread, whatever the store does.
            gather_s: How long the thread sleeps between two looks at the queue. Otherwise it wakes
                for each thing, and takes the interpreter from whoever handles mail.
        """
        self._name = name
        self._open_store = open_store
        self._counts = counts
        self._log = log
        self._capacity = capacity
        self._clock = clock
        self._seen = seen
        self._gather_s = gather_s
        # SimpleQueue.put takes no lock that another thread can hold for long, and never waits.
        self._queue: queue.SimpleQueue[ThingT | None] = queue.SimpleQueue()
        self._store: BatchStore[ThingT] | None = None
        self._rows: list[ThingT] = []
        self._flush_at = 0.0
        self._retry_s = 0.0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, thing: ThingT) -> None:
        """Queue one thing; never waits, never raises."""
        if self._queue.qsize() >= self._capacity:
            self._counts.dropped("queue")
        else:
            self._queue.put(thing)

    def waiting(self) -> int:
        """Return how many things are not stored yet."""
        return self._queue.qsize() + len(self._rows)

    def stop(self, timeout_s: float = STOP_S) -> bool:
        """Write what waits and end the thread; tell whether that was done in time."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log_event(self._log, logging.WARNING, f"{self._name}-stop", not_stored=self.waiting())
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
                self._log.exception("%s-failed", self._name)
                self._drop_rows()
        self._end()

    def _step(self) -> bool:
        """Take one thing or write what is due; tell whether there is more to come."""
        if self._gather_s and self._queue.empty():
            time.sleep(self._gather_s)
        try:
            thing = self._queue.get(timeout=self._wait_s())
        except queue.Empty:
            self._flush()
            return True
        if thing is None:
            return False
        self._take(thing)
        if len(self._rows) >= BATCH or self._clock() >= self._flush_at:
            self._flush()
        return True

    def _wait_s(self) -> float | None:
        """Return how long to wait for the next thing: for ever if there are no rows."""
        return max(0.0, self._flush_at - self._clock()) if self._rows else None

    def _take(self, thing: ThingT) -> None:
        if self._seen is not None:
            self._seen(thing)
        if self._open_store is None:
            return
        if len(self._rows) >= self._capacity:
            self._counts.dropped("store")
            return
        if not self._rows and not self._retry_s:
            self._flush_at = self._clock() + FLUSH_S
        self._rows.append(thing)

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
                log_event(self._log, logging.INFO, "store-back")
            self._retry_s = 0.0

    def _write(self) -> None:
        if self._store is None and self._open_store is not None:
            self._store = self._open_store()
        while self._rows and self._store is not None:
            batch = self._rows[:BATCH]
            self._store.add(batch)
            # Only now: a batch that failed is tried again as a whole.
            del self._rows[: len(batch)]
            self._counts.stored(len(batch))

    def _failed(self, error: StoreUnavailable) -> None:
        self._counts.error()
        if not self._retry_s:
            log_event(
                self._log,
                logging.WARNING,
                "store-unavailable",
                reason=str(error),
                waiting=self.waiting(),
            )
        self._retry_s = min(self._retry_s * 2 or RETRY_FIRST_S, RETRY_MAX_S)
        self._flush_at = self._clock() + self._retry_s

    def _drop_rows(self) -> None:
        for _ in self._rows:
            self._counts.dropped("store")
        self._rows.clear()

    def _end(self) -> None:
        self._flush_at = 0.0
        self._flush()
        if self._rows:
            log_event(self._log, logging.WARNING, f"{self._name}-stop", not_stored=len(self._rows))
            self._drop_rows()
        if self._store is not None:
            self._store.close()
