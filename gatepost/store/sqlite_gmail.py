"""What Gmail said in SQLite; see `gmail` for what may be asked, `sqlite_file` for the rest."""

from __future__ import annotations

import math
from collections.abc import Iterable

from gatepost.feedback.events import EventKind
from gatepost.feedback.rates import Measured, measure
from gatepost.feedback.reporting import GMAIL
from gatepost.store.gmail import KEEP_DAYS, TENANT, GmailDay
from gatepost.store.sqlite_file import SqliteFile, storable

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


class SqliteGmail(SqliteFile):
    """Implements `GmailStore`."""

    def add(self, days: Iterable[GmailDay]) -> None:
        """See `GmailStore.add`."""
        rows = [(each.day, each.domain, storable(each.label), each.share) for each in days]
        with self._writing() as db:
            db.conn.executemany(_PUT, rows)

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
        query = "select distinct label from gmail_days where day >= ? and label glob 't?*'"
        with self._database() as db:
            found = db.execute(query, [math.ceil(since / _SECONDS_A_DAY)]).fetchall()
        return {label.removeprefix(TENANT) for (label,) in found}

    def last_day(self, domain: str) -> int | None:
        """See `GmailStore.last_day`."""
        query = "select max(day) from gmail_days where domain = ?"
        with self._database() as db:
            day: int | None = db.execute(query, [domain]).fetchone()[0]
        return day

    def prune(self, now: float) -> int:
        """See `GmailStore.prune`."""
        with self._writing() as db:
            day = int(now // _SECONDS_A_DAY) - KEEP_DAYS
            return db.execute("delete from gmail_days where day < ?", [day]).rowcount


def _days(since: float, until: float) -> tuple[int, int]:
    return math.ceil(since / _SECONDS_A_DAY), math.ceil(until / _SECONDS_A_DAY)
