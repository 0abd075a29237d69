"""The counters of quotas in the process that answers mail: loaded, written behind, and watched.

Purpose: no answer waits for a disk. What has changed is written every half second by a thread.
Limits: what was counted in the last half second, and while the write takes, is lost with the
process, and so is less than 1 s unless the store is locked or slow; at a stop that was asked for,
nothing. Written are 5,000 counters at a time, which keeps the loop for some 20 ms. Counters that
count nothing any more are deleted from the store once a minute.
Errors: none. While the store cannot be written, counters go on in memory, one log line and
``gatepost_errors{kind="store"}`` tell, and all is written when it is back. A store that cannot be
read at the start is tried again every half second; until then nothing of before counts, and what it
holds is added then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import Counter, Gauge

from gatepost.errors import StoreUnavailable
from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import MAX_VALUES, PREFIX, Metrics, Tally
from gatepost.runtime.traffic.steady_clock import Sources, SteadyClock, system_sources
from gatepost.store.quotas import ClockMark, FleetMark, QuotaStore
from gatepost.traffic.counters import MemoryCounters, Row, shifted
from gatepost.traffic.valkey_target import Target

if TYPE_CHECKING:
    from gatepost.runtime.traffic.fleet_counters import FleetCounters
    from gatepost.traffic.valkey import ValkeyCounters

WRITE_S: Final = 0.5
AT_ONCE: Final = 5_000
_PRUNE_S: Final = 60.0
RESULTS: Final = ("room", "over", "held", "observed")

_log = logging.getLogger("gatepost.quota")


def _fleet(target: Target, clock: SteadyClock, metrics: Metrics) -> FleetCounters:
    # The client takes a good part of the role's start to import, and most share no counters.
    from gatepost.runtime.traffic.fleet_counters import FleetCounters  # noqa: PLC0415

    return FleetCounters(target, clock, metrics)


class QuotaDesk:
    """Counters, and all around them; to be used on the thread of the event loop alone.

    Attributes:
        counters: The counters.
        clock: Their clock.
        on_refused: Is told the queue id of each message that others refused after its end.
    """

    def __init__(
        self,
        open_store: Callable[[], QuotaStore],
        metrics: Metrics,
        sources: Sources | None = None,
        target: Target | None = None,
    ) -> None:
        """Load what was kept.

        Args:
            open_store: Opens the store, on the thread that uses it.
            metrics: Where to count.
            sources: What the clock goes by; the host's own without it.
            target: Where counters are shared, or None for in memory.
        """
        self._sources = sources or system_sources()
        self.clock = SteadyClock(self._sources)
        self._fleet = None if target is None else _fleet(target, self.clock, metrics)
        self.counters: MemoryCounters | ValkeyCounters = (
            MemoryCounters() if self._fleet is None else self._fleet.counters
        )
        self._kept: FleetMark | None = None
        self.on_refused: Callable[[str], object] = str
        self._open_store = open_store
        self._store: QuotaStore | None = None
        self._metrics = metrics
        self._loaded = False
        self._failed = False
        self._pruned_at = 0.0
        self._refused = 0
        self._checks = _checks(metrics)
        self._over = _over(metrics)
        self._watch(metrics)
        self._thread = ThreadPoolExecutor(1, "quotas")
        self._task: asyncio.Task[None] | None = None
        self._settle(self._thread.submit(self._attempt, None, (), 0.0).result())

    def start(self) -> None:
        """Begin to write, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def join(self) -> None:
        """Begin to share counters, where they are shared."""
        if self._fleet is not None:
            await self._fleet.start()

    def count(self, result: str, tenant: str) -> None:
        """Count a message that was looked at: one of `RESULTS`."""
        self._checks[result]()
        if result != "room":
            self._over.labels(self._metrics.tenant_label(tenant)).inc()

    def status(self) -> dict[str, Any]:
        """Return what ``gatepost status`` shows."""
        counters = self.counters
        return {
            "counters": len(counters),
            "reservations": counters.reservations,
            "unwritten": counters.unwritten,
            "loaded": self._loaded,
            **({} if self._fleet is None else {"fleet": self._fleet.status()}),
        }

    async def stop(self) -> None:
        """Write what is left, and end."""
        if self._task is not None:
            self._task.cancel()
        if self._fleet is not None:
            await self._fleet.stop()
        await self._write()
        while self.counters.unwritten and not self._failed:
            await self._write()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        while True:
            behind = self.counters.unwritten >= AT_ONCE and not self._failed
            await asyncio.sleep(0 if behind else WRITE_S)
            try:
                await asyncio.shield(self._write())
                self.counters.tidy(self.clock())
            except Exception:
                # The task must live.
                self._metrics.error("quota")
                _log.exception("quota-failed")

    async def _write(self) -> None:
        rows = self.counters.take_changed(AT_ONCE)
        now = self.clock()
        prune = now if now - self._pruned_at >= _PRUNE_S else 0.0
        attempt = asyncio.get_running_loop().run_in_executor(
            self._thread, self._attempt, self.clock.mark(), rows, prune
        )
        if not self._settle(await attempt):
            self.counters.put_back(rows)
        elif prune:
            self._pruned_at = prune

    def _attempt(
        self, mark: ClockMark | None, rows: tuple[Row, ...] | list[Row], prune: float
    ) -> _Done | StoreUnavailable:
        """Load, if that is still to be done, or write; on the thread of the store."""
        try:
            if self._store is None:
                self._store = self._open_store()
            if not self._loaded:
                # What was counted meanwhile is written when what is there was added to it.
                self._refused = self._store.last_refused()
                fleet = None if self._fleet is None else self._store.fleet()
                return _Done(self._store.load(), fleet=fleet)
            if mark is not None and rows:
                self._store.write(mark, rows)
            if mark is not None and self._fleet is not None and self._fleet.mark() != self._kept:
                kept = self._fleet.mark()
                self._store.keep_fleet(kept)
                self._kept = kept
            if mark is not None and prune:
                self._store.prune(prune, mark.wall)
            refused = self._store.refused(self._refused)
            if refused:
                self._refused = refused[-1][0]
        except StoreUnavailable as error:
            return error
        return _Done(None, tuple(queue_id for _, queue_id in refused))

    def _settle(self, found: _Done | StoreUnavailable) -> bool:
        """Take note of how an attempt went; tell whether rows were written."""
        if isinstance(found, StoreUnavailable):
            if not self._failed:
                self._metrics.error("store")
                log_event(_log, logging.WARNING, "quota-not-written", reason=str(found))
            self._failed = True
            return False
        if self._failed:
            log_event(_log, logging.INFO, "quota-written")
        self._failed = False
        for queue_id in found.refused:
            self.on_refused(queue_id)
        if found.loaded is None:
            return True
        mark, rows = found.loaded
        if not len(self.counters):
            self.clock.resume(mark)
        else:
            # What was counted meanwhile has times of this clock, which may be another than that
            # of before.
            before = SteadyClock(self._sources)
            before.resume(mark)
            rows = [shifted(row, self.clock() - before()) for row in rows]
        self.counters.load(rows)
        if self._fleet is not None:
            self._fleet.resume(found.fleet)
        self._loaded = True
        return False

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()

    def _watch(self, metrics: Metrics) -> None:
        counters = self.counters
        for name, text, value in (
            ("quota_counters", "Counters of quotas in memory.", lambda: len(counters)),
            ("quota_reservations", "Messages with a reservation.", lambda: counters.reservations),
            ("quota_unwritten", "Counters not written yet.", lambda: counters.unwritten),
        ):
            Gauge(PREFIX + name, text, registry=metrics.registry).set_function(value)


@dataclass(frozen=True, slots=True)
class _Done:
    """How an attempt went: what was loaded, if anything was, and what others refused since."""

    loaded: tuple[ClockMark | None, list[Row]] | None
    refused: tuple[str, ...] = ()
    fleet: FleetMark | None = None


def _checks(metrics: Metrics) -> Tally:
    text = "Messages and recipients that were looked at for quotas, by result."
    tally = Tally(
        Counter(f"{PREFIX}quota_checks", text, ["result"], registry=metrics.registry),
        limit=MAX_VALUES,
    )
    tally.expect(*RESULTS)
    return tally


def _over(metrics: Metrics) -> Counter:
    return Counter(
        f"{PREFIX}quota_over",
        "Messages and recipients over a quota, in whatever mode, by tenant.",
        ["tenant"],
        registry=metrics.registry,
    )
