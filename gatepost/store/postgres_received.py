"""What came back in PostgreSQL; see `received` for what may be asked, `postgres_server`."""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

from gatepost.store import received
from gatepost.store.postgres_server import PostgresServer, changed
from gatepost.store.received_queries import ReceivedQueries
from gatepost.store.received_rows import COLUMNS

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


class PostgresReceived(PostgresServer, ReceivedQueries):
    """Implements `gatepost.store.received.ReceivedStore`."""

    ADD = _ADD
    ACTED = _ACTED

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
