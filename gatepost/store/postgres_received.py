"""What came back in PostgreSQL; see `received` for what may be asked, `postgres_server`."""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

from gatepost.store import received
from gatepost.store.postgres_server import PostgresServer, changed
from gatepost.store.received import Received
from gatepost.store.received_rows import COLUMNS, received_of, received_row
from gatepost.store.text import storable

PRUNE_ROWS = 20_000

_REPLACE = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS.split(", ")[1:])
# One that comes again is the latest.
_ADD = f"""
insert into received_reports ({COLUMNS}) values ({", ".join(["%s"] * 10)})
on conflict (id) do update set {_REPLACE}, number = excluded.number
"""
_ACTED = """
select 1 from received_reports
where message = %s and id <> %s and strpos(' ' || events || ' ', ' ' || %s || ' ') > 0 limit 1
"""
_COUNT = """
select count(*) from received_reports
where reporter = %s and tenant = %s and at >= %s and events <> ''
"""
_LATEST = f"""
select {COLUMNS} from received_reports
where (%(kind)s::text is null or kind = %(kind)s)
and (%(result)s::text is null or result = %(result)s)
order by number desc limit %(limit)s
"""
_DELETE = f"""
delete from received_reports where number in (
    select number from received_reports where {{where}} limit {PRUNE_ROWS} for update skip locked
)
"""
_PRUNE = (
    _DELETE.format(where="events = '' and (at < %(before)s or number <= %(last)s) order by number"),
    _DELETE.format(
        where="at < least(%(before)s::double precision, %(acted)s::double precision) order by at"
    ),
)
_LAST = "select coalesce(max(number), 0) from received_reports"


class PostgresReceived(PostgresServer):
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
            row = db.execute(_COUNT, [storable(reporter), tenant, since]).fetchone()
        return 0 if row is None else int(row[0])

    def latest(
        self, limit: int, kind: str | None = None, result: str | None = None
    ) -> list[Received]:
        """See `ReceivedStore.latest`."""
        values = {"limit": limit, "kind": kind, "result": result}
        with self._database() as db:
            return [received_of(row) for row in db.execute(_LATEST, values)]

    def prune(self, before: float, acted_before: float) -> int:
        """See `ReceivedStore.prune`."""
        pruned = 0
        with self._database() as db:
            row = db.execute(_LAST).fetchone()
        last = (0 if row is None else row[0]) - received.MAX_ROWS
        before, acted = self._by_server(before), self._by_server(acted_before)
        spans = {"before": before, "acted": acted, "last": last}
        for statement in _PRUNE:
            step = PRUNE_ROWS
            while step == PRUNE_ROWS:
                with self._writing() as db:
                    step = changed(db.execute(statement, spans))
                pruned += step
        return pruned
