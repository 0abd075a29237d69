"""The ladder at work: in the back role, from counts of events to tenants' steps.

Purpose: look at those tenants of which complaints or bounces have come in since the last look; once
a minute at those that are on a step, and once an hour at all that have any.
Format of the log line: ``ladder tenant=… from=… to=… mode=… why="…"``, a warning.
Limits: a look every 2 s, so a tenant goes on for as long after the complaint that was too much.
Errors: none; a store that is not available is tried again 2 s later, and counted.
Security: step and event are stored in one transaction, and only if nothing has changed since they
were computed: a process that is killed at any moment neither loses a step nor tells it twice.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from gatepost.feedback.events import EventKind
from gatepost.feedback.ladder import Evidence, Outcome, evidence_of, next_step, window_start
from gatepost.feedback.rates import By, Measured, rates_of
from gatepost.feedback.reporting import LOOPS, SHARES_ONLY, listed
from gatepost.feedback.rules import Step
from gatepost.feedback.status import NORMAL, Change, Status, Whose
from gatepost.modes import Mode
from gatepost.runtime.feedback.status_metrics import watch_statuses
from gatepost.runtime.hourly import Hourly
from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import Metrics
from gatepost.settings import Settings
from gatepost.snapshot import Snapshot
from gatepost.store.events import EventStore
from gatepost.store.open import open_events, open_gmail, open_rates, open_statuses
from gatepost.store.rates import RateStore
from gatepost.store.tenant_status import TenantStatusStore

EVERY_S = 2.0
FIRST_S = 0.5
STEPS_EVERY_S = 60.0
ALL_EVERY_S = 3600.0
_PAGE = 1000

_KINDS = frozenset({EventKind.COMPLAINED, EventKind.BOUNCED})

_log = logging.getLogger("gatepost.ladder")


class GmailStore(Protocol):
    """What Gmail says of tenants."""

    def estimate(self, tenant: str, since: float, until: float) -> Measured | None:
        """Return the complaints at Gmail about a tenant, or None if nothing is known."""

    def tenants(self, since: float) -> set[str]:
        """Return the tenants of which anything is known since a Unix time."""

    def close(self) -> None:
        """Close the connection of the calling thread."""


@dataclass(frozen=True, slots=True)
class Stores:
    """What the ladder reads and writes."""

    statuses: TenantStatusStore
    events: EventStore
    rates: RateStore
    gmail: GmailStore

    def close(self) -> None:
        """Close all of them."""
        for each in (self.statuses, self.events, self.rates, self.gmail):
            with contextlib.suppress(Exception):
                each.close()


class Climber:
    """Computes steps, and remembers up to where it has read the events.

    Args:
        known: Providers that are known to report.
    """

    def __init__(self, known: Collection[str] = tuple(LOOPS)) -> None:
        self._known = frozenset(known)
        self._position: int | None = None
        self._all_at = 0.0
        self._steps_at = 0.0
        self._reporting = self._known

    def climb(self, stores: Stores, snapshot: Snapshot, now: float) -> list[Change]:
        """Put tenants on the steps where they belong, and return what has changed.

        Args:
            stores: The stores.
            snapshot: The configuration.
            now: Unix time in seconds.

        Raises:
            StoreUnavailable: If a store is; what was changed until then is whole.
        """
        for name in stores.statuses.expire(now):
            log_event(_log, logging.INFO, "pause-over", tenant=name)
        statuses = stores.statuses.all()
        position = stores.events.end()
        names = self._due(stores, snapshot, statuses, position, now)
        changes = []
        for name in sorted(names):
            tenant = snapshot.tenants.by_id.get(name)
            if tenant is None or tenant.modes.ladder is Mode.OFF:
                continue
            status = statuses.get(name, NORMAL)
            outcome = self._outcome(stores, snapshot, name, status, now)
            if outcome is None:
                continue
            change = _change(name, status, outcome, tenant.modes.ladder, now)
            if stores.statuses.set_step(change, status, outcome.step, outcome.why):
                changes.append(change)
        # Only now: whoever fails on the way looks at the same events again.
        self._position = position
        return changes

    def _due(
        self,
        stores: Stores,
        snapshot: Snapshot,
        statuses: dict[str, Status],
        position: int,
        now: float,
    ) -> set[str]:
        """Return the tenants that have to be looked at."""
        due: set[str] = set()
        if now >= self._steps_at:
            # For a step to be taken back.
            due |= {name for name, status in statuses.items() if status.step is not Step.NONE}
            self._steps_at = now + STEPS_EVERY_S
        since = now - snapshot.ladder.window_s
        if self._position is None or now >= self._all_at or position < self._position:
            self._reporting = (self._known | stores.rates.reporters(since)) - SHARES_ONLY
            self._all_at = now + ALL_EVERY_S
            return due | stores.rates.tenants(since) | stores.gmail.tenants(since)
        begin = self._position
        while begin < position:
            page = stores.events.page(begin, _PAGE, kinds=_KINDS, until=position)
            for each in page.events:
                due.add(each.event.tenant)
                if each.event.kind is EventKind.COMPLAINED and each.event.provider:
                    self._reporting |= {each.event.provider} - SHARES_ONLY
            begin = page.position
        return due

    def _outcome(
        self, stores: Stores, snapshot: Snapshot, name: str, status: Status, now: float
    ) -> Outcome | None:
        rules = snapshot.ladder
        start = window_start(status, rules, now)
        sums = stores.rates.sums(start, now, name) if start <= now else []
        found = rates_of(sums, By.TENANT, self._reporting)
        gmail = stores.gmail.estimate(name, start, now)
        evidence = evidence_of(found[0] if found else None, rules, gmail)
        # Whoever has a mail server can report one complaint, and so be one that reports: mail to
        # itself must not water down what those say who are known.
        known = rates_of(
            (each for each in sums if each.provider in self._known), By.TENANT, self._known
        )
        shares = [
            Evidence("complaints at known providers", each.complaints, rules.complaints)
            for each in known
        ]
        return next_step(status, [*shares, *evidence], rules, now)


class LadderWatch(Hourly):
    """Runs a `Climber` again and again."""

    def __init__(
        self,
        open_stores: Callable[[], Stores],
        current: Callable[[], Snapshot],
        metrics: Metrics,
        *,
        known: Collection[str] = tuple(LOOPS),
        first_s: float = FIRST_S,
        every_s: float = EVERY_S,
    ) -> None:
        """Start.

        Args:
            open_stores: Opens the stores, on the thread that uses them.
            current: Returns the snapshot in force.
            metrics: Where failures are counted.
            known: Providers that are known to report.
            first_s: Seconds until the first run.
            every_s: Seconds between two runs.
        """
        self._open_stores = open_stores
        self._current = current
        self._climber = Climber(known)
        self._show = watch_statuses(metrics)
        self._stores: Stores | None = None
        super().__init__("ladder", self._climb, metrics, first_s=first_s, every_s=every_s)

    def _run(self) -> None:
        try:
            super()._run()
        finally:
            if self._stores is not None:
                self._stores.close()

    def _climb(self) -> None:
        # They stay open, as opening takes a lock that others wait for; one that fails comes back.
        stores = self._stores = self._stores or self._open_stores()
        snapshot, now = self._current(), time.time()
        changes = self._climber.climb(stores, snapshot, now)
        self._show(stores.statuses.all(), snapshot, now)
        for change in changes:
            log_event(
                _log,
                logging.WARNING,
                "ladder",
                tenant=change.tenant,
                **{"from": change.before},
                to=change.after,
                mode=str(change.details["mode"]),
                why=str(change.details["why"]),
            )


def ladder_watch(
    settings: Settings, current: Callable[[], Snapshot], metrics: Metrics
) -> LadderWatch:
    """Return the watch over the stores that the settings name."""
    url = settings.state
    return LadderWatch(
        lambda: Stores(
            open_statuses(url),
            open_events(url),
            open_rates(url),
            open_gmail(url),
        ),
        current,
        metrics,
        known=listed(settings.feedback_loops),
    )


def _change(name: str, status: Status, outcome: Outcome, mode: Mode, now: float) -> Change:
    details: dict[str, str | int | float] = {"mode": mode.value, "why": outcome.why}
    if outcome.evidence is not None:
        seen = outcome.evidence.measured
        details |= {
            "rate": outcome.evidence.what,
            "count": seen.count,
            "of": seen.of,
            "share": round(seen.share, 6),
            "low": round(seen.low, 6),
            "high": round(seen.high, 6),
            "threshold": outcome.evidence.thresholds.get(outcome.step, 0.0),
        }
    return Change(name, Whose.AUTOMATIC, now, status.step.keyword, outcome.step.keyword, details)
