"""Sights of destinations in memory, for the check at RCPT time.

Purpose: a recipient's domain is looked up in the store once in five minutes, off the loop that
answers mail, and by one look for all who ask.
Limits: 1 s for a look; what is not there by then is not known, and is looked for again after 30 s.
50,000 domains.
Errors: none. A store that is unavailable means that nothing is known: mail is accepted as without
this check.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from gatepost.errors import StoreUnavailable
from gatepost.runtime.log import log_event
from gatepost.tls.reachability import NO_SIGHTS, Sights

KEEP_S = 300.0
AGAIN_S = 30.0
LOOK_S = 1.0
MAX_DOMAINS = 50_000

_log = logging.getLogger("gatepost.sights")


class SightStore(Protocol):
    """Tells what is known of a destination."""

    def look(self, domain: str, now: float) -> Sights:
        """Return what is known of a normalised domain; ``now`` is Unix time.

        Raises:
            StoreUnavailable: If the store cannot be read.
        """

    def close(self) -> None:
        """Close the connection of the calling thread."""


class SightBook:
    """What is known of destinations; to be used within one event loop."""

    def __init__(
        self,
        open_store: Callable[[], SightStore],
        *,
        clock: Callable[[], float],
        look_s: float = LOOK_S,
    ) -> None:
        """Make it, empty.

        Args:
            open_store: Opens the store, on the thread that uses it.
            clock: Unix time in seconds.
            look_s: Seconds that a look may take.
        """
        self._open_store = open_store
        self._clock = clock
        self._look_s = look_s
        self._sights: dict[str, tuple[Sights, float]] = {}
        self._looks: dict[str, asyncio.Task[Sights]] = {}
        self._store: SightStore | None = None
        self._thread = ThreadPoolExecutor(1, "sights")
        self._failed = False

    def known(self, domain: str) -> Sights | None:
        """Return what is known of a domain, or None if nobody has looked of late."""
        found = self._sights.get(domain)
        return found[0] if found is not None and self._clock() < found[1] else None

    async def look(self, domain: str) -> Sights:
        """Return what is known of a domain, after a look into the store if need be."""
        known = self.known(domain)
        if known is not None:
            return known
        task = self._looks.get(domain)
        if task is None:
            task = asyncio.create_task(self._look(domain))
            self._looks[domain] = task
            task.add_done_callback(lambda _: self._looks.pop(domain, None))
        done, _ = await asyncio.wait({task}, timeout=self._look_s)
        return task.result() if done else self._keep(domain, NO_SIGHTS, AGAIN_S)

    def close(self) -> None:
        """Stop looking, without waiting for a look that is on."""
        self._thread.submit(self._close_store)
        self._thread.shutdown(wait=False)

    async def _look(self, domain: str) -> Sights:
        loop = asyncio.get_running_loop()
        try:
            sights = await loop.run_in_executor(self._thread, self._read, domain)
        except StoreUnavailable as error:
            if not self._failed:
                self._failed = True
                log_event(_log, logging.WARNING, "store-unavailable", reason=str(error))
            return self._keep(domain, NO_SIGHTS, AGAIN_S)
        self._failed = False
        return self._keep(domain, sights, KEEP_S)

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()

    def _read(self, domain: str) -> Sights:
        if self._store is None:
            self._store = self._open_store()
        return self._store.look(domain, self._clock())

    def _keep(self, domain: str, sights: Sights, keep_s: float) -> Sights:
        self._sights.pop(domain, None)
        self._sights[domain] = (sights, self._clock() + keep_s)
        if len(self._sights) > MAX_DOMAINS:
            del self._sights[next(iter(self._sights))]
        return sights
