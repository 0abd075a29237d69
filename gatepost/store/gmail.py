"""What Gmail's Postmaster Tools said, in SQLite: shares of complaints, day by day.

Purpose: Gmail tells of no message; it tells, for each value in Feedback-ID that was frequent enough
on a day, which share of its mail was reported as spam.
Format: a label is the value as it stands in Feedback-ID, such as ``tacme`` or ``cSpring``; empty
for all mail that a domain has signed. A day is counted from 1970-01-01.
Limits: kept for 400 days.
Errors: every method raises `StoreUnavailable` and nothing else.
Not handled: how many messages a share is of, which Gmail does not say. `estimate` takes the
deliveries of that day in UTC; Gmail counts those that reached an inbox, which are fewer, so the
true interval is somewhat wider than the one that is computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from gatepost.feedback.events import EventKind
from gatepost.feedback.rates import Measured, measure
from gatepost.feedback.reporting import GMAIL
from gatepost.store.sqlite_file import SqliteFile, storable

KEEP_DAYS = 400
TENANT = "t"
_SECONDS_A_DAY = 86_400

_PUT = "insert or replace into gmail_days (day, domain, label, share) values (?, ?, ?, ?)"
# Where two domains signed the same mail, the worse share counts.
_ESTIMATE = """
select day, max(share), (
    select coalesce(sum(count), 0) from event_counts
    where tenant = :tenant and hour >= day * 24 and hour < day * 24 + 24
    and provider = :gmail and kind = :delivered
)
from gmail_days where day >= :first and day < :end and label = :label group by day
"""
_SHARES = """
select day, domain, label, share from gmail_days
where day >= ? and day < ? order by day, domain, label
"""


@dataclass(frozen=True, slots=True)
class GmailDay:
    """What Gmail said of one label on one day.

    Attributes:
        day: Days since 1970-01-01.
        domain: The domain that was asked for.
        label: The value in Feedback-ID, or empty for all mail of the domain.
        share: Share of its mail that was reported, from 0 to 1.
    """

    day: int
    domain: str
    label: str
    share: float


class SqliteGmail(SqliteFile):
    """Keeps the shares."""

    def add(self, days: Iterable[GmailDay]) -> None:
        """Store what was said; what was said before of the same day and label is replaced."""
        rows = [(each.day, each.domain, storable(each.label), each.share) for each in days]
        with self._writing() as db:
            db.conn.executemany(_PUT, rows)

    def shares(self, since: float, until: float) -> list[GmailDay]:
        """Return what was said of the days that begin between two Unix times, by day."""
        with self._database() as db:
            return [GmailDay(*row) for row in db.execute(_SHARES, _days(since, until))]

    def estimate(self, tenant: str, since: float, until: float) -> Measured | None:
        """Return the complaints at Gmail about a tenant, or None if nothing is known.

        Args:
            tenant: Tenant id.
            since: Unix time; days that began before do not count.
            until: Unix time; days that begin then or later do not count.
        """
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
        """Return the tenants of which anything is known since a Unix time."""
        query = "select distinct label from gmail_days where day >= ? and label glob 't?*'"
        with self._database() as db:
            found = db.execute(query, [math.ceil(since / _SECONDS_A_DAY)]).fetchall()
        return {label.removeprefix(TENANT) for (label,) in found}

    def last_day(self, domain: str) -> int | None:
        """Return the last day of which anything is known of a domain, or None."""
        query = "select max(day) from gmail_days where domain = ?"
        with self._database() as db:
            day: int | None = db.execute(query, [domain]).fetchone()[0]
        return day

    def prune(self, now: float) -> int:
        """Delete what is older than `KEEP_DAYS`; return how much."""
        with self._writing() as db:
            day = int(now // _SECONDS_A_DAY) - KEEP_DAYS
            return db.execute("delete from gmail_days where day < ?", [day]).rowcount


def _days(since: float, until: float) -> tuple[int, int]:
    return math.ceil(since / _SECONDS_A_DAY), math.ceil(until / _SECONDS_A_DAY)
