"""What came back in SQLite; see `received` for what may be asked, `sqlite_file` for the rest."""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

from gatepost.store import received
from gatepost.store.received_queries import ReceivedQueries
from gatepost.store.received_rows import COLUMNS
from gatepost.store.sqlite_file import SqliteFile

PRUNE_ROWS = 20_000

_ADD = f"insert or replace into received_reports ({COLUMNS}) values ({', '.join('?' * 10)})"
_ACTED = """
select 1 from received_reports
where message = ? and id <> ? and instr(' ' || events || ' ', ' ' || ? || ' ') > 0
"""
_PRUNE = f"""
delete from received_reports where number in (
    select number from received_reports
    where (events = '' and (at < :before or number <= :last)) or at < min(:before, :acted)
    order by number limit {PRUNE_ROWS}
)
"""
_LAST = "select coalesce(max(number), 0) from received_reports"


class SqliteReceived(SqliteFile, ReceivedQueries):
    """Implements `gatepost.store.received.ReceivedStore`."""

    ADD = _ADD
    ACTED = _ACTED

    def prune(self, before: float, acted_before: float) -> int:
        """See `ReceivedStore.prune`."""
        pruned = 0
        with self._database() as db:
            last = db.execute(_LAST).fetchone()[0] - received.MAX_ROWS
        spans = {"before": before, "acted": acted_before, "last": last}
        while True:
            with self._writing() as db:
                step = db.execute(_PRUNE, spans).rowcount
            pruned += step
            if step < PRUNE_ROWS:
                return pruned
