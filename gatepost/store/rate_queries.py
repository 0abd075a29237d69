"""How sums of counts, and what Gmail said, are read: the same in every database.

Purpose: see `rates` and `gmail`.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this package; values are bound.

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

from gatepost.feedback.events import EventKind
from gatepost.feedback.rates import Measured, measure
from gatepost.feedback.reporting import GMAIL
from gatepost.store.engine import Engine
from gatepost.store.events import SECONDS_A_DAY, SECONDS_AN_HOUR, EventCount
from gatepost.store.gmail import KEEP_DAYS, TENANT, GmailDay
from gatepost.store.text import storable

# Where `{}` is `Engine.MARK`. PostgreSQL's sum would be a decimal number.
_SUMS = """
select provider, kind, bounce_class, severity, cast(sum(count) as bigint) from event_counts
where tenant = {} and hour >= {} and hour < {} group by provider, kind, bounce_class, severity
"""
_TENANTS = "select distinct tenant from event_counts where hour >= {} and kind in ({}, {})"
_REPORTERS = "select distinct provider from event_counts where hour >= {} and kind = {}"
# Where two domains signed the same mail, the worse share counts.
_ESTIMATE = """
select day, max(share), (
    select cast(coalesce(sum(count), 0) as bigint) from event_counts
    where tenant = {} and hour >= day * 24 and hour < day * 24 + 24
    and provider = {} and kind = {}
)
from gmail_days where day >= {} and day < {} and label = {} group by day
"""
_SHARES = """
select day, domain, label, share from gmail_days
where day >= {} and day < {} order by day, domain, label
"""


class RateQueries(Engine):
    """Implements `gatepost.store.rates.RateStore`."""

    def sums(self, since: float, until: float, tenant: str) -> list[EventCount]:
        """See `RateStore.sums`."""
        first, end = _hour(since), _hour(until) + 1
        return [
            EventCount(first, tenant, "", "", provider, EventKind(kind), name, count, severity)
            for provider, kind, name, severity, count in self._all(
                self._marked(_SUMS), [tenant, first, end]
            )
        ]

    def tenants(self, since: float) -> set[str]:
        """See `RateStore.tenants`."""
        values = [_hour(since), EventKind.COMPLAINED.value, EventKind.BOUNCED.value]
        return {tenant for (tenant,) in self._all(self._marked(_TENANTS), values)} - {""}

    def reporters(self, since: float) -> set[str]:
        """See `RateStore.reporters`."""
        values = [_hour(since), EventKind.COMPLAINED.value]
        return {provider for (provider,) in self._all(self._marked(_REPORTERS), values)} - {""}


class GmailQueries(Engine):
    """The methods of `gatepost.store.gmail.GmailStore` but `add`.

    Attributes:
        LABELLED: Finds the labels of tenants from a day on.
    """

    LABELLED: ClassVar[str]

    def shares(self, since: float, until: float) -> list[GmailDay]:
        """See `GmailStore.shares`."""
        rows = self._all(self._marked(_SHARES), [_day(since), _day(until)])
        return [GmailDay(*row) for row in rows]

    def estimate(self, tenant: str, since: float, until: float) -> Measured | None:
        """See `GmailStore.estimate`."""
        delivered_to_gmail = [tenant, GMAIL, EventKind.DELIVERED.value]
        values = [*delivered_to_gmail, _day(since), _day(until), TENANT + tenant]
        rows = self._all(self._marked(_ESTIMATE), values)
        if not rows:
            return None
        complaints = sum(share * delivered for _, share, delivered in rows)
        return measure(round(complaints), sum(delivered for *_, delivered in rows))

    def tenants(self, since: float) -> set[str]:
        """See `GmailStore.tenants`."""
        rows = self._all(self.LABELLED, [_day(since)])
        return {label.removeprefix(TENANT) for (label,) in rows}

    def last_day(self, domain: str) -> int | None:
        """See `GmailStore.last_day`."""
        query = f"select max(day) from gmail_days where domain = {self.MARK}"
        day: int | None = self._first(query, [domain])[0]
        return day

    def prune(self, now: float) -> int:
        """See `GmailStore.prune`."""
        day = int(self._by_server(now) // SECONDS_A_DAY) - KEEP_DAYS
        return self._change(f"delete from gmail_days where day < {self.MARK}", [day])


def gmail_rows(days: Iterable[GmailDay]) -> list[tuple[Any, ...]]:
    """Return what is stored of days, in one order, so that nodes do not wait in a circle."""
    rows = [(each.day, each.domain, storable(each.label), each.share) for each in days]
    return sorted(rows, key=lambda row: row[:3])


def _hour(at: float) -> int:
    return math.floor(at / SECONDS_AN_HOUR)


def _day(at: float) -> int:
    return math.ceil(at / SECONDS_A_DAY)
