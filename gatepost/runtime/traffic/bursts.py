"""Who is in burst and what is outstanding, as the policy server keeps it: measured, told, kept.

Purpose: rates are measured here, message by message; backlogs come from the back role, which reads
the log. Here both meet, and here is decided who is moved.
Format of the log line: ``lane-moved tenant=… from=… to=… why="…" mode=…``.
Limits: the sheet of the back role is looked at twice a second. Who is in burst stands on a sheet of
its own half a second later, so a restart takes it up at once; of what was recognised within that
half second before a kill, a flood is recognised anew by its next messages. With more than `SHOWN`
tenants in burst it is a second.
Errors: none. Without a backlog nobody is refused, moved or kept for it, which one log line
(``backlog-unknown``) and ``gatepost_backlog_known`` tell.
Security: tenants are those of the configuration; no label and no entry is made up by clients.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Protocol

from prometheus_client import Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gatepost.modes import Mode
from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import PREFIX, Metrics
from gatepost.runtime.paths import burst_path, traffic_path
from gatepost.runtime.traffic.reading import (
    BACKLOG,
    BURST,
    MAX_CHANGES,
    WARMUP,
    kept_of,
    parse_reading,
    still_known,
)
from gatepost.runtime.traffic.sheet import SheetWatch, TrafficSheet, since_boot
from gatepost.snapshot import Snapshot
from gatepost.traffic.burst import Burst, BurstBook, BurstRules, Cap, LaneChange
from gatepost.traffic.outstanding import Outstanding, Reading
from gatepost.traffic.state import Backlog, Moved

LOOK_S: Final = 0.5
# So long after a start nobody is told that backlogs are unknown: the back role starts, too.
GRACE_S: Final = 30.0
# So many tenants in burst are shown by ``gatepost status``, the latest.
SHOWN: Final = 100

_log = logging.getLogger("gatepost.traffic")


class Warmups(Protocol):
    """Who counts for warm-ups."""

    def over(self, key: str) -> bool:
        """Tell whether a warm-up has no room left today."""

    def overs(self) -> list[str]:
        """Return the keys of those that have none."""


class BurstDesk:
    """Bursts and backlogs; to be used on the thread of the event loop alone.

    Implements `gatepost.traffic.state.TrafficState`.
    """

    def __init__(
        self,
        run_dir: Path,
        metrics: Metrics,
        current: Callable[[], Snapshot],
        *,
        clock: Callable[[], float] = since_boot,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Take up what was known before.

        Args:
            run_dir: Where the sheets are.
            metrics: Where to count.
            current: Returns the configuration in force.
            clock: Seconds since the boot.
            wall: Unix time in seconds.
        """
        # Who counts for warm-ups; until then none is over its cap.
        self.warmups: Warmups | None = None
        self._current = current
        self._clock = clock
        self._wall = wall
        self._metrics = metrics
        self._book = BurstBook()
        self._outstanding = Outstanding()
        self._watch = SheetWatch(traffic_path(run_dir), clock=clock)
        # What the back role has told last, and the same taken apart.
        self._section: Any = None
        self._parsed: Reading | None = None
        self._changes: list[dict[str, Any]] = []
        self._unknown_told = False
        self._unput = False
        self._started_at = clock()
        self._task: asyncio.Task[None] | None = None
        self._moves = _moves(metrics)
        self._full = _full(metrics)
        self._watched(metrics)
        self._restore(run_dir)
        self._sheet = TrafficSheet(burst_path(run_dir), every_s=LOOK_S, clock=clock)
        self._put()
        self.look()

    def start(self) -> None:
        """Begin to look at the sheet, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Write what is left, and end."""
        if self._task is not None:
            self._task.cancel()
        self._sheet.stop()

    def in_burst(self, tenant_id: str) -> Moved | None:
        """Return since when and why a tenant is in burst, or None if it is not."""
        return self._book.in_burst(tenant_id)

    def backlog(self, tenant_id: str) -> Backlog | None:
        """Return what is outstanding of a tenant, or None where nobody knows."""
        return self._outstanding.of(tenant_id)

    def is_full(self, tenant_id: str, cap: Cap) -> bool:
        """Tell whether as much of a tenant is outstanding as may be; False where nobody knows."""
        return self._outstanding.is_full(tenant_id, cap)

    def over_warmup(self, key: str) -> bool:
        """Tell whether what was sent under a warm-up is over its cap of today."""
        return self.warmups is not None and self.warmups.over(key)

    def is_log_read(self) -> bool:
        """Tell whether the back role has read the log of late."""
        return self._reading() is not None

    def count(self, tenant_id: str, messages: int, recipients: int, rules: BurstRules) -> None:
        """Take note of mail that was let through.

        Args:
            tenant_id: Whose it is.
            messages: How many messages began with it.
            recipients: How many recipients.
            rules: The configuration.
        """
        now = self._clock()
        # As `burst_of` and `cap_of`, which are two calls more for each recipient.
        burst = rules.bursts.get(tenant_id, rules.burst)
        if burst is not None:
            why = self._book.count(tenant_id, burst, messages, recipients, now)
            if why is not None:
                self._move(tenant_id, burst, why, now)
        if rules.caps.get(tenant_id, rules.cap) is not None:
            self._outstanding.accept(tenant_id, messages, recipients, now)

    def refused(self, tenant_id: str, mode: Mode) -> None:
        """Count mail that finds a full backlog."""
        self._full.labels(self._metrics.tenant_label(tenant_id), mode.value).inc()

    def look(self) -> None:
        """Take in what the back role has told, and see who is to be moved."""
        now = self._clock()
        snapshot = self._current()
        rules = snapshot.bursts
        others = self._outstanding.read(self._reading())
        self._tell_unknown(rules, now)
        for tenant_id, came in others.items():
            burst = rules.burst_of(tenant_id)
            if burst is not None:
                why = self._book.count(tenant_id, burst, came, came, now)
                if why is not None:
                    self._move(tenant_id, burst, f"{why}, not by SMTP", now)
        book = self._book
        # Those whose backlog may move them.
        large = [] if rules == BurstRules() else filter(self._movable, self._outstanding.large())
        for change in book.leave(self._movable):
            self._tell(change)
        for change in book.look(rules, self._outstanding.of, large, now, self._wall()):
            self._tell(change)
        if self._unput:
            self._put()
        if self.warmups is not None:
            self._sheet.put(WARMUP, {"over": self.warmups.overs()})

    def status(self) -> dict[str, Any]:
        """Return what ``gatepost status`` shows."""
        kept = self._book.kept()
        latest = sorted(kept.items(), key=lambda each: -each[1][0])[:SHOWN]
        return {
            "burst_tenants": len(kept),
            "burst": {
                tenant_id: {"since": since, "why": why} for tenant_id, (since, why, _) in latest
            },
            "backlog_known": self._outstanding.known,
            "taken_and_not_in_the_log": self._outstanding.waiting,
        }

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await asyncio.to_thread(self._watch.look)
                self.look()
            except Exception:
                # The task must live.
                self._metrics.error("traffic")
                _log.exception("traffic-failed")

    def _reading(self) -> Reading | None:
        """Return what the log tells, or None where nobody knows."""
        section = self._watch.section(BACKLOG)
        if section is not self._section:
            # Once each time it is written: of thousands of tenants this takes milliseconds, and
            # every look-up by a lane in warm-up asks.
            self._section, self._parsed = section, parse_reading(section)
        return still_known(self._parsed, self._clock())

    def _movable(self, tenant_id: str) -> bool:
        """Tell whether a tenant is there and its lanes are not off."""
        tenant = self._current().tenants.by_id.get(tenant_id)
        return tenant is not None and tenant.modes.lane is not Mode.OFF

    def _move(self, tenant_id: str, burst: Burst, why: str, now: float) -> None:
        if not self._movable(tenant_id):
            return
        backlog = self._outstanding.of(tenant_id)
        base = 0 if backlog is None else backlog.messages
        self._tell(self._book.move(tenant_id, burst, Moved(self._wall(), why), base, now))

    def _tell(self, change: LaneChange) -> None:
        """Say that a tenant was moved: log, count, sheet."""
        snapshot = self._current()
        tenant = snapshot.tenants.by_id.get(change.tenant)
        own = "-" if tenant is None else tenant.lane
        burst = snapshot.bursts.burst_of(change.tenant)
        other = "-" if burst is None else burst.lane
        before, after = (other, own) if change.moved is None else (own, other)
        mode = "-" if tenant is None else tenant.modes.lane.value
        log_event(
            _log,
            logging.INFO,
            "lane-moved",
            tenant=change.tenant,
            **{"from": before},
            to=after,
            why=change.why,
            mode=mode,
        )
        self._moves.labels("back" if change.moved is None else "burst").inc()
        self._changes.append(
            {
                "at": self._wall(),
                "tenant": change.tenant,
                "from": before,
                "to": after,
                "why": change.why,
                "mode": mode,
            }
        )
        del self._changes[:-MAX_CHANGES]
        self._unput = True
        if len(self._book) <= SHOWN:
            # Of very many, each would take as long as there are others.
            self._put()

    def _put(self) -> None:
        self._unput = False
        data = {"tenants": self._book.kept(), "changes": list(self._changes)}
        self._sheet.put(BURST, data)

    def _restore(self, run_dir: Path) -> None:
        before = SheetWatch(burst_path(run_dir), clock=self._clock)
        before.look()
        data = before.last(BURST)
        kept = kept_of(data)
        self._book.restore(self._current().bursts, kept, self._clock())
        if len(self._book):
            log_event(_log, logging.INFO, "burst-restored", tenants=len(self._book))
        changes = data.get("changes") if isinstance(data, dict) else None
        if isinstance(changes, list):
            self._changes = changes[-MAX_CHANGES:]
        self._watch.look()

    def _tell_unknown(self, rules: BurstRules, now: float) -> None:
        known = self._outstanding.known
        if known == self._unknown_told:
            if known:
                log_event(_log, logging.INFO, "backlog-known")
            elif not rules.asks_for_backlog or now - self._started_at < GRACE_S:
                return
            else:
                reason = "the back role, or Postfix's log, is not read"
                log_event(_log, logging.WARNING, "backlog-unknown", reason=reason)
            self._unknown_told = not known

    def _watched(self, metrics: Metrics) -> None:
        outstanding, book = self._outstanding, self._book
        for name, text, value in (
            ("backlog_known", "1 if backlogs are known.", lambda: float(outstanding.known)),
            ("burst_tenants", "Tenants in burst.", lambda: float(len(book))),
        ):
            Gauge(PREFIX + name, text, registry=metrics.registry).set_function(value)
        metrics.registry.register(_InBurst(book, metrics))


class _InBurst(Collector):
    """One sample for each tenant in burst, by name as far as labels go."""

    def __init__(self, book: BurstBook, metrics: Metrics) -> None:
        self._book = book
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """Return the family."""
        found = GaugeMetricFamily(
            PREFIX + "burst_since_timestamp_seconds",
            "Unix time since when a tenant is in burst.",
            labels=["tenant"],
        )
        since: dict[str, float] = {}
        # The registry is read on another thread than that of the loop.
        for tenant_id, (at, _, _) in list(self._book.kept().items()):
            label = self._metrics.tenant_label(tenant_id)
            since[label] = min(since.get(label, at), at)
        for label, at in since.items():
            found.add_metric([label], at)
        yield found


def _moves(metrics: Metrics) -> Counter:
    counter = Counter(
        f"{PREFIX}lane_moves",
        "Tenants that were moved to their burst lane, and back.",
        ["to"],
        registry=metrics.registry,
    )
    for word in ("burst", "back"):
        counter.labels(word)
    return counter


def _full(metrics: Metrics) -> Counter:
    return Counter(
        f"{PREFIX}backlog_full",
        "Recipients, and messages at their end, that found the backlog of their tenant full.",
        ["tenant", "mode"],
        registry=metrics.registry,
    )
