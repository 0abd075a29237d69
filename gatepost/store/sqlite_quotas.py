"""The counters of quotas in SQLite; see `quotas` and `sqlite_file`.

Format: the steps of a counter are JSON, ``[[step, count], …]``.
Errors: a row that cannot be read is left out: of it nothing counts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from gatepost.store.quotas import ClockMark, FleetMark
from gatepost.store.sqlite_file import SqliteFile, storable
from gatepost.traffic.counters import Row
from gatepost.traffic.quota import MAX_COUNT, MAX_WINDOW_S, STEPS

KEEP_REFUSALS_S = 3_600.0

_PUT = "insert or replace into quota_counters values (?, ?, ?, ?, ?)"
_PUT_MARK = "insert or replace into quota_clock values (1, ?, ?, ?, ?)"


class SqliteQuotas(SqliteFile):
    """Implements `QuotaStore`."""

    def load(self) -> tuple[ClockMark | None, list[Row]]:
        """See `QuotaStore.load`."""
        with self._database() as db:
            mark = db.execute("select boot, since_boot, at, wall from quota_clock").fetchone()
            rows = db.execute("select name, unit, window, counts, until from quota_counters")
            found = [row for each in rows if (row := _row(*each)) is not None]
        return (None if mark is None else ClockMark(*mark)), found

    def write(self, mark: ClockMark, rows: Sequence[Row]) -> None:
        """See `QuotaStore.write`."""
        values = [
            (storable(row.key[0]), row.key[1], row.key[2], json.dumps(row.counts), row.until)
            for row in rows
        ]
        with self._writing() as db:
            db.conn.executemany(_PUT, values)
            db.execute(_PUT_MARK, [mark.boot, mark.since_boot, mark.at, mark.wall])

    def fleet(self) -> FleetMark | None:
        """See `QuotaStore.fleet`."""
        with self._database() as db:
            found = db.execute("select era, nodes from quota_fleet").fetchone()
        return None if found is None else FleetMark(*found)

    def keep_fleet(self, mark: FleetMark) -> None:
        """See `QuotaStore.keep_fleet`."""
        with self._writing() as db:
            db.execute(
                "insert or replace into quota_fleet values (1, ?, ?)", [mark.era, mark.nodes]
            )

    def refuse(self, queue_ids: Sequence[str], wall: float) -> None:
        """See `QuotaStore.refuse`."""
        with self._writing() as db:
            db.conn.executemany(
                "insert into quota_refusals (queue_id, wall) values (?, ?)",
                [(queue_id, wall) for queue_id in queue_ids],
            )

    def refused(self, after: int) -> list[tuple[int, str]]:
        """See `QuotaStore.refused`."""
        query = "select id, queue_id from quota_refusals where id > ? order by id limit 10000"
        with self._database() as db:
            return db.execute(query, [after]).fetchall()

    def last_refused(self) -> int:
        """See `QuotaStore.last_refused`."""
        query = "select coalesce(max(seq), 0) from sqlite_sequence where name = 'quota_refusals'"
        with self._database() as db:
            return int(db.execute(query).fetchone()[0])

    def prune(self, at: float, wall: float) -> int:
        """See `QuotaStore.prune`."""
        with self._writing() as db:
            old = wall - KEEP_REFUSALS_S
            db.execute("delete from quota_refusals where wall < ?", [old])
            return int(db.execute("delete from quota_counters where until <= ?", [at]).rowcount)


def _row(name: str, unit: str, window: int, text: str, until: float) -> Row | None:
    try:
        counts = tuple((int(step), int(count)) for step, count in json.loads(text))
        if not 1 <= window <= MAX_WINDOW_S or not 0 <= len(counts) <= STEPS + 1:
            return None
        if any(not 0 <= count <= MAX_COUNT for _, count in counts):
            return None
        return Row((str(name), str(unit), window), counts, float(until))
    except (TypeError, ValueError):
        return None
