"""Where ``gatepost top`` gets its numbers: sheets, events, deliveries, counters, statuses.

Purpose: one look at everything, as rows; whatever is not to be had leaves a dash and a sentence.
Source: ``traffic.json`` (messages that come, backlog), ``burst.json`` (who is in burst), the stream
of events (deliveries), the deliveries of this node (TLS), the counters of quotas, the statuses.
Limits: events are read as they come, and at the start those of the last minute, `FIRST_EVENTS` at
the most; the share of TLS takes all deliveries of an hour and is computed once a minute, and less
often where it takes long: a twentieth of the time at the most. Quotas are read every 5 s.
Errors: none.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

from gatepost.decisions.lane import choose_lane
from gatepost.decisions.quota import claims_of
from gatepost.errors import Unavailable
from gatepost.feedback.events import EventKind
from gatepost.feedback.rules import Step
from gatepost.feedback.status import NO_STATUSES, Queued, Scope, Status, Statuses
from gatepost.maillog.evidence import By, DeliveryStore
from gatepost.modes import Mode
from gatepost.runtime.paths import traffic_path
from gatepost.runtime.traffic.known_quotas import known_quotas
from gatepost.runtime.traffic.reading import BACKLOG, SheetTraffic, reading_of
from gatepost.runtime.traffic.sheet import SheetWatch, since_boot
from gatepost.settings import Loaded
from gatepost.store.events import EventStore
from gatepost.store.open import is_missing, open_deliveries, open_events, open_statuses
from gatepost.store.tenant_status import TenantStatusStore
from gatepost.tenants.model import Tenant
from gatepost.traffic.outstanding import Reading
from gatepost.traffic.quota import Claim, Usage
from gatepost.traffic.state import Backlog
from gatepost.traffic.top import WINDOW_S, Arrivals, Meter, Row

FIRST_EVENTS = 20_000
PAGE = 1_000
TLS_EVERY_S = 60.0
TLS_SHARE = 20.0
QUOTA_EVERY_S = 5.0
HOUR_S = 3600.0

_KINDS = frozenset({EventKind.DELIVERED, EventKind.DEFERRED, EventKind.BOUNCED})

StoreT = TypeVar("StoreT", EventStore, DeliveryStore, TenantStatusStore)


class TopSource:
    """Reads all of it; `close` when done.

    Attributes:
        problems: What is not known, and why; of the last look.
    """

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self.problems: list[str] = []
        settings = loaded.settings
        self._sheet = SheetWatch(traffic_path(settings.run_dir), clock=since_boot)
        self._traffic = SheetTraffic(settings.run_dir)
        self._arrivals = Arrivals()
        self._told = False
        self._meter: Meter | None = None
        self._position = 0
        self._tls: dict[str, float] = {}
        self._tls_at = 0.0
        self._usage: dict[Claim, Usage] = {}
        self._usage_at = 0.0
        self._stores: dict[str, EventStore | DeliveryStore | TenantStatusStore] = {}

    def close(self) -> None:
        """Close what was opened."""
        for each in self._stores.values():
            each.close()

    def look(self) -> list[Row]:
        """Return a row for each tenant of the configuration."""
        self.problems = []
        now = time.time()
        self._traffic.look()
        self._sheet.look()
        reading = reading_of(self._sheet.section(BACKLOG), since_boot())
        self._told = reading is not None
        if reading is None:
            self.problems.append("what comes in and what is outstanding is not known")
        else:
            totals = {name: each.arrived + each.others for name, each in reading.tenants.items()}
            self._arrivals.sample(reading.reader, reading.as_of, totals)
        rates = self._event_rates(now)
        statuses = self._try("status", self._statuses, NO_STATUSES)
        self._try("TLS", lambda: self._look_at_tls(now), None)
        self._look_at_quotas()
        tenants = self._loaded.snapshot.tenants.by_id.values()
        return [self._row(each, reading, rates, statuses, now) for each in tenants]

    @property
    def tells_arrivals(self) -> bool:
        """Tell whether anybody says what comes in."""
        return self._told

    @property
    def is_measured(self) -> bool:
        """Tell whether there are two looks at what comes in, so that it has a rate."""
        return self._arrivals.span_s > 0

    def _row(
        self,
        tenant: Tenant,
        reading: Reading | None,
        rates: dict[tuple[str, str], float] | None,
        statuses: Statuses,
        now: float,
    ) -> Row:
        def rate(kind: EventKind) -> float | None:
            return None if rates is None else rates.get((tenant.id, kind.value), 0.0)

        backlog = _backlog(reading, tenant.id)
        choice = choose_lane(tenant, self._loaded.snapshot, statuses, self._traffic)
        quota, name = self._quota(tenant)
        incoming = self._arrivals.rate(tenant.id)
        if incoming is None and reading is not None and self.is_measured:
            # Nothing of it came and nothing is outstanding, or it would be on the sheet.
            incoming = 0.0 if tenant.id not in reading.tenants else None
        return Row(
            tenant.id,
            incoming,
            rate(EventKind.DELIVERED),
            rate(EventKind.DEFERRED),
            rate(EventKind.BOUNCED),
            None if backlog is None else backlog.messages,
            max(0.0, now - backlog.oldest) if backlog is not None and backlog.messages else None,
            quota,
            name,
            self._tls.get(tenant.id),
            choice.lane,
            choice.why,
            state_of(statuses.get(tenant.id), tenant, now),
        )

    def _event_rates(self, now: float) -> dict[tuple[str, str], float] | None:
        def read() -> dict[tuple[str, str], float]:
            store = self._store("events", open_events, self._loaded.settings.state)
            if self._meter is None:
                # Not by their time, for which the stream would have to be read from its begin.
                self._position = max(store.end() - FIRST_EVENTS, 0)
                self._meter = Meter(self._first_at(store, now))
            for _ in range(FIRST_EVENTS // PAGE):
                page = store.page(self._position, PAGE, kinds=_KINDS)
                for each in page.events:
                    self._meter.add(each.event.tenant, each.event.kind.value, each.event.at)
                self._position = page.position
                if len(page.events) < PAGE:
                    break
            return dict(self._meter.rates(now))

        found: dict[tuple[str, str], float] | None = self._try("events", read, None)
        return found

    def _first_at(self, store: EventStore, now: float) -> float:
        """Return since when events are counted: a minute, or since the first that is read."""
        first = store.after(self._position, 1) if self._position else []
        return max(now - WINDOW_S, first[0].event.at) if first else now - WINDOW_S

    def _statuses(self) -> Statuses:
        store = self._store("statuses", open_statuses, self._loaded.settings.state)
        return store.all()

    def _look_at_tls(self, now: float) -> None:
        if time.monotonic() < self._tls_at:
            return
        begun = time.monotonic()
        store = self._store("deliveries", open_deliveries, self._loaded.settings.local_state)
        shares = store.share(now - HOUR_S, now, By.TENANT)
        self._tls = {
            each.name: each.deliveries.protected / each.deliveries.sent
            for each in shares
            if each.deliveries.sent
        }
        took = time.monotonic() - begun
        self._tls_at = time.monotonic() + max(TLS_EVERY_S, took * TLS_SHARE)

    def _look_at_quotas(self) -> None:
        if time.monotonic() < self._usage_at or not self._loaded.snapshot.quotas.any:
            return
        known = known_quotas(self._loaded.settings)
        snapshot = self._loaded.snapshot
        claims = {
            claim: None
            for tenant in snapshot.tenants.by_id.values()
            for claim in claims_of(tenant, "", snapshot)
        }
        self._usage = {each.claim: each for each in known.usage(claims)}
        self.problems += known.problems
        self._usage_at = time.monotonic() + QUOTA_EVERY_S

    def _quota(self, tenant: Tenant) -> tuple[float | None, str]:
        """Return how far the tenant's own quota that is used most is used, and which one."""
        found = [
            self._usage[claim]
            for claim in claims_of(tenant, "", self._loaded.snapshot)
            if claim in self._usage and claim.name == f"tenant {tenant.id}"
        ]
        if not found:
            return None, ""
        fullest = max(found, key=lambda each: each.used / each.claim.limit.count)
        return fullest.used / fullest.claim.limit.count, str(fullest.claim.limit)

    def _store(self, name: str, opener: Callable[..., StoreT], url: str) -> StoreT:
        known: Any = self._stores.get(name)
        if known is None:
            if is_missing(url):
                raise Unavailable(f"{url} does not exist yet")
            known = self._stores[name] = opener(url, create=False)
        found: StoreT = known
        return found

    def _try(self, what: str, read: Callable[[], Any], instead: Any) -> Any:
        try:
            return read()
        except (Unavailable, OSError) as error:
            self.problems.append(f"{what}: not known: {error}")
            with contextlib.suppress(Exception):
                self.close()
            self._stores.clear()
            return instead


def _backlog(reading: Reading | None, tenant: str) -> Backlog | None:
    if reading is None:
        return None
    told = reading.tenants.get(tenant)
    return Backlog() if told is None else told.backlog


def state_of(status: Status | None, tenant: Tenant, now: float) -> str:
    """Return in a few words what holds up a tenant, or ``active``."""
    if status is None:
        return "active"
    found = []
    pause = status.pause_at(now)
    if pause is not None:
        queued = "" if pause.queued is Queued.KEEP else f" ({pause.queued.value})"
        found.append(f"{'paused' if pause.scope is Scope.ALL else 'marketing paused'}{queued}")
    parts = sum(each.holds(now) for each in status.parts)
    if parts:
        found.append(f"{parts} part{'s' if parts > 1 else ''} paused")
    if status.step is not Step.NONE and tenant.modes.ladder is Mode.ENFORCE:
        found.append(f"ladder: {status.step.keyword}")
    return ", ".join(found) or "active"
