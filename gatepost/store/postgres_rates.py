"""Sums of event counts, and what Gmail said, in PostgreSQL; see `rates` and `gmail`."""

from __future__ import annotations

from collections.abc import Iterable

from gatepost.store.gmail import GmailDay
from gatepost.store.postgres_server import PostgresServer
from gatepost.store.rate_queries import GmailQueries, RateQueries, gmail_rows

_PUT = """
insert into gmail_days (day, domain, label, share) values (%s, %s, %s, %s)
on conflict (day, domain, label) do update set share = excluded.share
"""


class PostgresRates(PostgresServer, RateQueries):
    """Implements `gatepost.store.rates.RateStore`."""


class PostgresGmail(PostgresServer, GmailQueries):
    """Implements `gatepost.store.gmail.GmailStore`."""

    # The last sign is doubled, since one of them announces a value.
    LABELLED = "select distinct label from gmail_days where day >= %s and label like 't_%%'"

    def add(self, days: Iterable[GmailDay]) -> None:
        """See `GmailStore.add`."""
        with self._writing() as db, db.cursor() as cursor:
            cursor.executemany(_PUT, gmail_rows(days))
