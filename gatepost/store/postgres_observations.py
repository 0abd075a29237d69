"""Observations in PostgreSQL; see `interface` for what may be asked, `postgres_server`.

Limits: one node at a time rolls up; another one that comes meanwhile finds nothing to do.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

from collections.abc import Sequence

from gatepost.modes import Observation
from gatepost.store.interface import EXAMPLES, SECONDS_AN_HOUR
from gatepost.store.observation_queries import ObservationQueries
from gatepost.store.observation_rows import COLUMNS, observation_row
from gatepost.store.postgres_server import PostgresServer, changed

ROLL_UP_ROWS = 20_000
_LOCK = 0x6761_7465_6F62_7376

_KEY = "tenant, feature, action"
_COPY = f"copy observations ({COLUMNS}) from stdin"
_ALONE = "select pg_try_advisory_xact_lock(%s)"
_SPAN = f"""
create temporary table rolled on commit drop as
select * from observations where at < %s order by id limit {ROLL_UP_ROWS}
"""
_FOLD = f"""
insert into observation_hours as was (hour, {_KEY}, count)
select floor(at / {SECONDS_AN_HOUR})::integer as hour, {_KEY}, count(*)
from rolled group by hour, {_KEY}
on conflict (hour, {_KEY}) do update set count = was.count + excluded.count
"""
_KEEP_EXAMPLES = f"""
insert into observation_examples ({COLUMNS})
select {COLUMNS} from (
    select *, row_number() over (partition by {_KEY} order by at desc, id desc) as rank from rolled
) as ranked where rank <= {EXAMPLES} order by at, id
"""
_CUT_EXAMPLES = f"""
delete from observation_examples where id in (
    select id from (
        select id, row_number() over (partition by {_KEY} order by at desc, id desc) as rank
        from observation_examples
    ) as ranked where rank > {EXAMPLES}
)
"""
_FORGET = "delete from observations where id in (select id from rolled)"
_FILTER = """
(%(tenant)s::text is null or tenant = %(tenant)s)
and (%(feature)s::text is null or feature = %(feature)s)
"""
_SUMS = f"""
select {_KEY}, sum(n), min(first_at), max(last_at) from (
    select {_KEY}, count(*) as n, min(at) as first_at, max(at) as last_at
    from observations where at >= %(since)s and {_FILTER} group by {_KEY}
    union all
    select {_KEY}, sum(count), (min(hour) * {SECONDS_AN_HOUR}::bigint)::double precision,
        ((max(hour) + 1) * {SECONDS_AN_HOUR}::bigint)::double precision
    from observation_hours where hour >= %(since_hour)s and {_FILTER} group by {_KEY}
) as parts group by {_KEY} order by sum(n) desc, {_KEY}
"""
_EXAMPLES = f"""
select {COLUMNS} from (
    select {COLUMNS}, row_number() over (partition by {_KEY} order by at desc) as rank from (
        select {COLUMNS} from observations where at >= %(since)s and {_FILTER}
        union all
        select {COLUMNS} from observation_examples where at >= %(since_hour_at)s and {_FILTER}
    ) as parts
) as ranked where rank <= {EXAMPLES} order by at desc
"""


class PostgresObservations(PostgresServer, ObservationQueries):
    """Implements `gatepost.store.interface.ObservationStore`."""

    SUMS = _SUMS
    EXAMPLES = _EXAMPLES

    def add(self, observations: Sequence[Observation]) -> None:
        """See `ObservationStore.add`."""
        rows = [observation_row(each) for each in observations]
        with self._writing() as db, db.cursor() as cursor, cursor.copy(_COPY) as copy:
            for row in rows:
                copy.write_row(row)

    def _roll_up_some(self, before: int) -> int:
        with self._writing() as db:
            row = db.execute(_ALONE, [_LOCK]).fetchone()
            if row is None or not row[0]:
                return 0
            count = changed(db.execute(_SPAN, [before]))
            if count:
                for statement in (_FOLD, _KEEP_EXAMPLES, _CUT_EXAMPLES, _FORGET):
                    db.execute(statement)
            return count
