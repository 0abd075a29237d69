"""What came back in SQLite; see `received` for what may be asked, `sqlite_file` for the rest."""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

from gatepost.store import received
from gatepost.store.received import Received
from gatepost.store.received_rows import COLUMNS, received_of, received_row
from gatepost.store.sqlite_file import SqliteFile, storable

PRUNE_ROWS = 20_000

_ADD = f"insert or replace into received_reports ({COLUMNS}) values ({', '.join('?' * 10)})"
_ACTED = """
select 1 from received_reports
where message = ? and id <> ? and instr(' ' || events || ' ', ' ' || ? || ' ') > 0
"""
_COUNT = """
select count(*) from received_reports
where reporter = ? and tenant = ? and at >= ? and events <> ''
"""
_LATEST = f"""
select {COLUMNS} from received_reports
where (:kind is null or kind = :kind) and (:result is null or result = :result)
order by number desc limit :limit
"""
_PRUNE = f"""
delete from received_reports where number in (
    select number from received_reports
    where (events = '' and (at < :before or number <= :last)) or at < min(:before, :acted)
    order by number limit {PRUNE_ROWS}
)
"""
_LAST = "select coalesce(max(number), 0) from received_reports"


class SqliteReceived(SqliteFile):
    """Implements `gatepost.store.received.ReceivedStore`."""

    def add(self, report: Received) -> None:
        """See `ReceivedStore.add`."""
        with self._writing() as db:
            db.execute(_ADD, received_row(report))

    def acted_on(self, message: str, event_id: str, but: str) -> bool:
        """See `ReceivedStore.acted_on`."""
        with self._database() as db:
            return db.execute(_ACTED, [message, but, event_id]).fetchone() is not None

    def count(self, reporter: str, tenant: str, since: float) -> int:
        """See `ReceivedStore.count`."""
        with self._database() as db:
            return int(db.execute(_COUNT, [storable(reporter), tenant, since]).fetchone()[0])

    def latest(
        self, limit: int, kind: str | None = None, result: str | None = None
    ) -> list[Received]:
        """See `ReceivedStore.latest`."""
        values = {"limit": limit, "kind": kind, "result": result}
        with self._database() as db:
            rows = db.execute(_LATEST, values).fetchall()
        return [received_of(row) for row in rows]

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
