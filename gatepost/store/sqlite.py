"""Observations in SQLite, the default store: for one host.

Purpose: several processes of one host write observations, the command line reads them; no server
has to run.
Limits, errors, security: see `sqlite_file`.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

from collections.abc import Sequence

from gatepost.modes import Observation
from gatepost.store.interface import EXAMPLES, SECONDS_AN_HOUR
from gatepost.store.observation_queries import ObservationQueries
from gatepost.store.observation_rows import COLUMNS, observation_row
from gatepost.store.sqlite_file import SqliteFile

ROLL_UP_ROWS = 20_000

_KEY = "tenant, feature, action"

_INSERT = f"insert into observations ({COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?)"

# What one transaction of a roll-up takes: the oldest rows, as ids grow with time.
_SPAN = f"""
select max(id) from (
    select id from observations where at < :before order by id limit {ROLL_UP_ROWS}
)
"""

_FOLD = f"""
insert into observation_hours (hour, {_KEY}, count)
select cast(at / {SECONDS_AN_HOUR} as integer) as hour, {_KEY}, count(*)
from observations where id <= :last and at < :before group by hour, {_KEY}
on conflict (hour, {_KEY}) do update set count = count + excluded.count
"""

_KEEP_EXAMPLES = f"""
insert into observation_examples ({COLUMNS})
select {COLUMNS} from (
    select {COLUMNS}, row_number() over (partition by {_KEY} order by at desc, id desc) as rank
    from observations where id <= :last and at < :before
) where rank <= {EXAMPLES}
"""

_FORGET = "delete from observations where id <= :last and at < :before"

_CUT_EXAMPLES = f"""
delete from observation_examples where id in (
    select id from (
        select id, row_number() over (partition by {_KEY} order by at desc, id desc) as rank
        from observation_examples
    ) where rank > {EXAMPLES}
)
"""

_FILTER = "(:tenant is null or tenant = :tenant) and (:feature is null or feature = :feature)"

_SUMS = f"""
select {_KEY}, sum(n), min(first_at), max(last_at) from (
    select {_KEY}, count(*) as n, min(at) as first_at, max(at) as last_at
    from observations where at >= :since and {_FILTER} group by {_KEY}
    union all
    select {_KEY}, sum(count),
        min(hour) * {SECONDS_AN_HOUR}.0, (max(hour) + 1) * {SECONDS_AN_HOUR}.0
    from observation_hours where hour >= :since_hour and {_FILTER} group by {_KEY}
) group by {_KEY} order by sum(n) desc, {_KEY}
"""

_EXAMPLES = f"""
select {COLUMNS} from (
    select {COLUMNS}, row_number() over (partition by {_KEY} order by at desc) as rank from (
        select {COLUMNS} from observations where at >= :since and {_FILTER}
        union all
        select {COLUMNS} from observation_examples where at >= :since_hour_at and {_FILTER}
    )
) where rank <= {EXAMPLES} order by at desc
"""


class SqliteStore(SqliteFile, ObservationQueries):
    """Implements `ObservationStore`."""

    SUMS = _SUMS
    EXAMPLES = _EXAMPLES

    def add(self, observations: Sequence[Observation]) -> None:
        """See `ObservationStore.add`."""
        with self._writing() as db:
            db.conn.executemany(_INSERT, map(observation_row, observations))

    def _roll_up_some(self, before: int) -> int:
        # In steps, each a transaction: writers of observations get in between.
        with self._writing() as db:
            last = db.execute(_SPAN, {"before": before}).fetchone()[0]
            if last is None:
                return 0
            span = {"before": before, "last": last}
            db.execute(_FOLD, span)
            db.execute(_KEEP_EXAMPLES, span)
            db.execute(_CUT_EXAMPLES)
            return db.execute(_FORGET, span).rowcount
