"""Sums of event counts, and what Gmail said, in PostgreSQL; see `rates` and `gmail`."""

from __future__ import annotations

import math
from collections.abc import Iterable

from gatepost.feedback.events import EventKind
from gatepost.feedback.rates import Measured, measure
from gatepost.feedback.reporting import GMAIL
from gatepost.store.events import SECONDS_A_DAY, SECONDS_AN_HOUR, EventCount
from gatepost.store.gmail import KEEP_DAYS, TENANT, GmailDay
from gatepost.store.postgres_server import PostgresServer, changed
from gatepost.store.text import storable

_SUMS = """
select provider, kind, bounce_class, severity, sum(count)::bigint from event_counts
where tenant = %s and hour >= %s and hour < %s group by provider, kind, bounce_class, severity
"""
_TENANTS = "select distinct tenant from event_counts where hour >= %s and kind = any(%s)"
_REPORTERS = "select distinct provider from event_counts where hour >= %s and kind = %s"
_PUT = """
insert into gmail_days (day, domain, label, share) values (%s, %s, %s, %s)
on conflict (day, domain, label) do update set share = excluded.share
"""
_ESTIMATE = """
select day, max(share), (
    select coalesce(sum(count), 0)::bigint from event_counts
    where tenant = %(tenant)s and hour >= day * 24 and hour < day * 24 + 24
    and provider = %(gmail)s and kind = %(delivered)s
)
from gmail_days where day >= %(first)s and day < %(end)s and label = %(label)s group by day
"""
_SHARES = """
select day, domain, label, share from gmail_days
where day >= %s and day < %s order by day, domain, label
"""
_LABELLED = "select distinct label from gmail_days where day >= %s and label like %s"


class PostgresRates(PostgresServer):
    """Implements `gatepost.store.rates.RateStore`."""

    def sums(self, since: float, until: float, tenant: str) -> list[EventCount]:
        """See `RateStore.sums`."""
        first, end = _hour(since), _hour(until) + 1
        with self._database() as db:
            rows = db.execute(_SUMS, [tenant, first, end]).fetchall()
        return [
            EventCount(first, tenant, "", "", provider, EventKind(kind), name, count, severity)
            for provider, kind, name, severity, count in rows
        ]

    def tenants(self, since: float) -> set[str]:
        """See `RateStore.tenants`."""
        kinds = [EventKind.COMPLAINED.value, EventKind.BOUNCED.value]
        with self._database() as db:
            return {row[0] for row in db.execute(_TENANTS, [_hour(since), kinds])} - {""}

    def reporters(self, since: float) -> set[str]:
        """See `RateStore.reporters`."""
        values = [_hour(since), EventKind.COMPLAINED.value]
        with self._database() as db:
            return {row[0] for row in db.execute(_REPORTERS, values)} - {""}


class PostgresGmail(PostgresServer):
    """Implements `gatepost.store.gmail.GmailStore`."""

    def add(self, days: Iterable[GmailDay]) -> None:
        """See `GmailStore.add`."""
        rows = [(each.day, each.domain, storable(each.label), each.share) for each in days]
        # In one order, so that two nodes do not wait for each other in a circle.
        rows.sort(key=lambda row: row[:3])
        with self._writing() as db, db.cursor() as cursor:
            cursor.executemany(_PUT, rows)

    def shares(self, since: float, until: float) -> list[GmailDay]:
        """See `GmailStore.shares`."""
        with self._database() as db:
            return [GmailDay(*row) for row in db.execute(_SHARES, _days(since, until))]

    def estimate(self, tenant: str, since: float, until: float) -> Measured | None:
        """See `GmailStore.estimate`."""
        first, end = _days(since, until)
        values = {
            "tenant": tenant,
            "gmail": GMAIL,
            "delivered": EventKind.DELIVERED.value,
            "label": TENANT + tenant,
            "first": first,
            "end": end,
        }
        with self._database() as db:
            rows = db.execute(_ESTIMATE, values).fetchall()
        if not rows:
            return None
        complaints = sum(share * delivered for _, share, delivered in rows)
        return measure(round(complaints), sum(delivered for *_, delivered in rows))

    def tenants(self, since: float) -> set[str]:
        """See `GmailStore.tenants`."""
        with self._database() as db:
            found = db.execute(_LABELLED, [math.ceil(since / SECONDS_A_DAY), f"{TENANT}_%"])
            return {row[0].removeprefix(TENANT) for row in found}

    def last_day(self, domain: str) -> int | None:
        """See `GmailStore.last_day`."""
        query = "select max(day) from gmail_days where domain = %s"
        with self._database() as db:
            row = db.execute(query, [domain]).fetchone()
        return None if row is None else row[0]

    def prune(self, now: float) -> int:
        """See `GmailStore.prune`."""
        day = int(self._by_server(now) // SECONDS_A_DAY) - KEEP_DAYS
        with self._writing() as db:
            return changed(db.execute("delete from gmail_days where day < %s", [day]))


def _hour(at: float) -> int:
    return math.floor(at / SECONDS_AN_HOUR)


def _days(since: float, until: float) -> tuple[int, int]:
    return math.ceil(since / SECONDS_A_DAY), math.ceil(until / SECONDS_A_DAY)
