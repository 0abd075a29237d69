"""The MTA-STS policies that are known: fetched when they are wanted, refreshed, kept in the store.

Purpose: carry out what `gatepost.tls.mtasts.entry` decides. A domain is fetched once however many
deliveries wait for it, and a delivery that has a policy which holds waits for no fetch, unless the
domain has announced another one.
Source: RFC 8461 §3.3, §5.1, §10.2.
Limits: a delivery waits at most 10 s for a fetch, 3 s where an older policy holds; the fetch
goes on and serves the next. 16 refreshes at once.
Changes are written at once; after a failure, once a second. 200,000 domains; the one that was
fetched longest ago goes first.
Errors: none. While the store is unavailable, what is known stays in memory, and is written later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from gatepost.errors import StoreUnavailable
from gatepost.runtime.log import log_event
from gatepost.store.mta_sts import StsStore
from gatepost.tls.mtasts.entry import StsEntry
from gatepost.tls.mtasts.fetching import FetchError, PolicyFetcher
from gatepost.tls.mtasts.policy import StsMode
from gatepost.tls.mtasts.record import Announcement

WAIT_S = 10.0
# Where an older policy holds, a new one is worth a moment, and not more.
LIVE_WAIT_S = 3.0
REFRESHES_AT_ONCE = 16
TURN_S = 1.0
LOAD_AGAIN_S = 30.0
REFRESH_EVERY_S = 60.0
MAX_DOMAINS = 200_000
# §10.2 wants somebody to hear of a policy that cannot be refreshed.
LOUD_FAILURES = 3
# How long a failure without a policy is worth remembering.
FORGET_S = 86_400

_log = logging.getLogger("gatepost.sts")


class StsPolicies:
    """All policies; to be used within one event loop."""

    def __init__(
        self,
        fetcher: PolicyFetcher,
        open_store: Callable[[], StsStore] | None,
        *,
        clock: Callable[[], float],
        count: Callable[[str], None] = lambda _: None,
        wait_s: float = WAIT_S,
    ) -> None:
        """Make it, empty.

        Args:
            fetcher: Fetches.
            open_store: Opens the store, on the thread that uses it; None keeps nothing.
            clock: Unix time in seconds.
            count: Is told the result of each fetch: ``ok`` or a result type of RFC 8460.
            wait_s: Seconds that a delivery waits for a fetch.
        """
        self._fetcher = fetcher
        self._open_store = open_store
        self._clock = clock
        self._count = count
        self._wait_s = wait_s
        self.on_change: Callable[[str], None] = lambda _: None
        self._entries: dict[str, StsEntry] = {}
        self._due: deque[str] = deque()
        self._refreshing: set[str] = set()
        self._fetches: dict[str, asyncio.Task[None]] = {}
        self._dirty: set[str] = set()
        self._gone: set[str] = set()
        self._store: StsStore | None = None
        # One thread, and so one connection; the loop that answers mail never waits for a disk.
        self._thread = ThreadPoolExecutor(1, "sts-store")
        self._store_failed = False
        self._loading = asyncio.Lock()
        self._changed = asyncio.Event()
        self._loaded = False
        self._load_at = 0.0

    def __len__(self) -> int:
        """Return how many domains are known."""
        return len(self._entries)

    def entry(self, domain: str) -> StsEntry | None:
        """Return what is known of a domain."""
        return self._entries.get(domain)

    async def load(self) -> None:
        """Take over what the store has; if it is unavailable, later."""
        async with self._loading:
            loop = asyncio.get_running_loop()
            if self._loaded or loop.time() < self._load_at:
                return
            try:
                entries = await loop.run_in_executor(self._thread, self._read)
            except StoreUnavailable as error:
                self._load_at = loop.time() + LOAD_AGAIN_S
                self._trouble(error)
                return
            self._loaded = True
            for entry in entries:
                self._entries.setdefault(entry.domain, entry)

    async def wanted(self, domain: str, announced: Announcement) -> StsEntry | None:
        """Return what is known of a domain that is about to be delivered to.

        Args:
            domain: The policy domain.
            announced: What its TXT record announces now; nothing, if that could not be looked up.
        """
        if not self._loaded:
            await self.load()
        entry = self._entries.get(domain) or StsEntry(domain)
        now = self._clock()
        if entry.wants_fetch(announced.policy_id, now):
            task = self._fetch(domain, announced.policy_id)
            holds = entry.live(now) is not None
            # Not cancelled when the time is up: the next delivery has use for it.
            await asyncio.wait(
                {task}, timeout=min(LIVE_WAIT_S, self._wait_s) if holds else self._wait_s
            )
        elif (running := self._fetches.get(domain)) and entry.live(now) is None:
            await asyncio.wait({running}, timeout=self._wait_s)
        return self._entries.get(domain)

    async def run(self) -> None:
        """Refresh and write, until cancelled; then write what is left."""
        next_refresh = 0.0
        loop = asyncio.get_running_loop()
        try:
            while True:
                if loop.time() >= next_refresh:
                    next_refresh = loop.time() + REFRESH_EVERY_S
                    self.refresh()
                self.step()
                self._changed.clear()
                await self.write()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TURN_S):
                        await self._changed.wait()
        finally:
            await self.write()

    async def close(self) -> None:
        """Give up what is being fetched, and close the store."""
        fetches = list(self._fetches.values())
        for task in fetches:
            task.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._close_store)
        self._thread.shutdown(wait=True)

    def fetches(self, domain: str) -> bool:
        """Tell whether a policy is being fetched."""
        return domain in self._fetches

    def refresh(self) -> None:
        """Find what is due to be fetched, and forget what holds no longer."""
        now = self._clock()
        self._due.clear()
        for domain, entry in list(self._entries.items()):
            if entry.wants_refresh(now):
                self._due.append(domain)
            elif entry.live(now) is None and now - entry.failed_at > FORGET_S:
                self._forget(domain)

    def step(self) -> None:
        """Begin to fetch some of what is due: never so many that a new domain has to wait."""
        self._refreshing = {domain for domain in self._refreshing if domain in self._fetches}
        while self._due and len(self._refreshing) < REFRESHES_AT_ONCE:
            domain = self._due.popleft()
            self._refreshing.add(domain)
            self._fetch(domain, "")

    async def write(self) -> None:
        """Write what has changed to the store."""
        if self._open_store is None or not (self._dirty or self._gone):
            self._dirty.clear()
            self._gone.clear()
            return
        dirty, gone = self._dirty, self._gone
        self._dirty, self._gone = set(), set()
        entries = [self._entries[domain] for domain in dirty if domain in self._entries]
        loop = asyncio.get_running_loop()
        done = False
        try:
            await loop.run_in_executor(self._thread, self._save, entries, gone)
            done = True
            self._store_failed = False
        except StoreUnavailable as error:
            self._trouble(error)
        finally:
            # Also where we were cancelled, and nobody knows whether it was written.
            if not done:
                self._dirty |= dirty
                self._gone |= gone - self._entries.keys()

    def _fetch(self, domain: str, policy_id: str) -> asyncio.Task[None]:
        task = self._fetches.get(domain)
        if task is None:
            task = asyncio.create_task(self._fetch_now(domain, policy_id))
            self._fetches[domain] = task
            task.add_done_callback(lambda _: self._fetches.pop(domain, None))
        return task

    async def _fetch_now(self, domain: str, policy_id: str) -> None:
        before = self._entries.get(domain) or StsEntry(domain)
        try:
            policy = await self._fetcher.fetch(domain)
        except FetchError as error:
            self._count(error.failure)
            entry = before.failed(error.failure, str(error), policy_id, self._clock())
            self._tell(entry)
        else:
            self._count("ok")
            entry = before.fetched(policy, policy_id, self._clock())
            if before.policy != policy:
                log_event(
                    _log,
                    logging.INFO,
                    "sts-policy",
                    domain=domain,
                    id=entry.policy_id,
                    mode=policy.mode.value,
                    mx=" ".join(policy.patterns)[:500],
                    max_age=policy.max_age_s,
                )
        self._put(entry)

    def _tell(self, entry: StsEntry) -> None:
        policy = entry.live(self._clock())
        loud = (
            policy is not None
            and policy.mode is not StsMode.NONE
            and entry.failures >= LOUD_FAILURES
        )
        log_event(
            _log,
            logging.WARNING if loud else logging.INFO,
            "sts-fetch-failed",
            domain=entry.domain,
            result=entry.failure.value if entry.failure else "",
            failures=entry.failures,
            policy_holds=policy is not None,
            cause=entry.reason,
        )

    def _put(self, entry: StsEntry) -> None:
        # To the end of the order, which is that of the fetches.
        before = self._entries.pop(entry.domain, None)
        self._entries[entry.domain] = entry
        self._dirty.add(entry.domain)
        self._changed.set()
        self._gone.discard(entry.domain)
        if len(self._entries) > MAX_DOMAINS:
            self._forget(next(iter(self._entries)))
        if (None if before is None else before.policy) != entry.policy:
            self.on_change(entry.domain)

    def _forget(self, domain: str) -> None:
        self._entries.pop(domain, None)
        self._dirty.discard(domain)
        self._gone.add(domain)

    def _opened(self) -> StsStore:
        if self._store is None:
            assert self._open_store is not None
            self._store = self._open_store()
        return self._store

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()

    def _read(self) -> list[StsEntry]:
        return [] if self._open_store is None else self._opened().load()

    def _save(self, entries: list[StsEntry], gone: set[str]) -> None:
        store = self._opened()
        if entries:
            store.save(entries)
        if gone:
            store.forget(gone)

    def _trouble(self, error: StoreUnavailable) -> None:
        if not self._store_failed:
            self._store_failed = True
            log_event(_log, logging.WARNING, "store-unavailable", reason=str(error))
