"""What Gmail said in SQLite; see `gmail` for what may be asked, `sqlite_file` for the rest."""

from __future__ import annotations

from collections.abc import Iterable

from gatepost.store.gmail import GmailDay
from gatepost.store.rate_queries import GmailQueries, gmail_rows
from gatepost.store.sqlite_file import SqliteFile

_PUT = "insert or replace into gmail_days (day, domain, label, share) values (?, ?, ?, ?)"


class SqliteGmail(SqliteFile, GmailQueries):
    """Implements `GmailStore`."""

    LABELLED = "select distinct label from gmail_days where day >= ? and label glob 't?*'"

    def add(self, days: Iterable[GmailDay]) -> None:
        """See `GmailStore.add`."""
        with self._writing() as db:
            db.conn.executemany(_PUT, gmail_rows(days))
