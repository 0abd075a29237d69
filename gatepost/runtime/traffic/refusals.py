"""Messages that others refused after their end, from the log to the counters of quotas.

Purpose: the log is read in the back role, and quotas are counted in the policy role; the store is
between them.
Errors: `RefusalBook.add` raises `StoreUnavailable`; the log is then read again, and what was told
twice counts once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from gatepost.errors import StoreUnavailable
from gatepost.store.quotas import QuotaStore


class RefusalBook:
    """Keeps refusals; to be used on one thread."""

    def __init__(
        self, open_store: Callable[[], QuotaStore], clock: Callable[[], float] = time.time
    ) -> None:
        """Remember where to keep them.

        Args:
            open_store: Opens the store, on the thread that uses it.
            clock: Unix time in seconds.
        """
        self._open_store = open_store
        self._clock = clock
        self._store: QuotaStore | None = None

    def add(self, queue_ids: Sequence[str]) -> None:
        """Keep that messages were refused.

        Raises:
            StoreUnavailable: If that cannot be done now.
        """
        try:
            if self._store is None:
                self._store = self._open_store()
            self._store.refuse(queue_ids, self._clock())
        except StoreUnavailable:
            self._store = None
            raise
