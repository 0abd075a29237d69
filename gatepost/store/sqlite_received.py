"""What came back in SQLite; see `received` for what may be asked, `sqlite_file` for the rest."""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

from dataclasses import replace

from gatepost.store.received import MAX_ROWS, MAX_TEXT, Received
from gatepost.store.sqlite_file import SqliteFile, storable

PRUNE_ROWS = 20_000

_COLUMNS = "id, at, kind, format, reporter, result, reason, tenant, message, events"
_ADD = f"insert or replace into received_reports ({_COLUMNS}) values ({', '.join('?' * 10)})"
_ACTED = """
select 1 from received_reports
where message = ? and id <> ? and instr(' ' || events || ' ', ' ' || ? || ' ') > 0
"""
_COUNT = """
select count(*) from received_reports
where reporter = ? and tenant = ? and at >= ? and events <> ''
"""
_LATEST = f"""
select {_COLUMNS} from received_reports
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
        texts = (
            *(report.kind, report.format, report.reporter, report.result),
            *(report.reason, report.tenant, report.message),
        )
        row = (
            report.id,
            report.at,
            *(storable(text[:MAX_TEXT]) for text in texts),
            " ".join(report.events),
        )
        with self._writing() as db:
            db.execute(_ADD, row)

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
        return [replace(Received(*row[:-1]), events=tuple(row[-1].split())) for row in rows]

    def prune(self, before: float, acted_before: float) -> int:
        """See `ReceivedStore.prune`."""
        pruned = 0
        with self._database() as db:
            last = db.execute(_LAST).fetchone()[0] - MAX_ROWS
        spans = {"before": before, "acted": acted_before, "last": last}
        while True:
            with self._writing() as db:
                step = db.execute(_PRUNE, spans).rowcount
            pruned += step
            if step < PRUNE_ROWS:
                return pruned
