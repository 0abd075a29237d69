"""What is known of lanes, in SQLite; see `lanes` and `sqlite_file`."""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gatepost.store.lanes import KEEP_DAYS, MAX_SLOWED
from gatepost.store.sqlite_file import SqliteFile, storable
from gatepost.traffic.shaping import Slowed
from gatepost.traffic.warmup import day_of

_OPERATOR = "operator"
_RULES = "rules"
_COLUMNS = "lane, provider, by, since, rates, first_s, every_s, why, rule, base, strikes, whose"
_PUT = f"insert or replace into slowed_pairs ({_COLUMNS}) values ({', '.join('?' * 12)})"
_SELECT = f"select {_COLUMNS} from slowed_pairs"
_DELETE = "delete from slowed_pairs where lane = ? and provider = ?"
_TOUCH = "update slowed_pairs_version set version = version + 1"


class SqliteLanes(SqliteFile):
    """Implements `LaneStore`."""

    def version(self) -> int:
        """See `LaneStore.version`."""
        with self._database() as db:
            row = db.execute("select version from slowed_pairs_version").fetchone()
        return int(row[0])

    def slowed(self) -> list[Slowed]:
        """See `LaneStore.slowed`."""
        with self._database() as db:
            rows = db.execute(f"{_SELECT} order by lane, provider, whose").fetchall()
        return [_slowed_of(row) for row in rows]

    def slow(self, slowed: Slowed) -> None:
        """See `LaneStore.slow`."""
        with self._writing() as db:
            db.execute(_PUT, _row_of(slowed))
            rows = [_slowed_of(row) for row in db.execute(_SELECT).fetchall()]
            if len(rows) > MAX_SLOWED:
                first = min(rows, key=lambda each: each.until)
                db.execute(_DELETE, [first.lane, first.provider])
            db.execute(_TOUCH)

    def lift(self, lane: str, provider: str) -> list[Slowed]:
        """See `LaneStore.lift`."""
        with self._writing() as db:
            query = f"{_SELECT} where lane = ? and provider = ?"
            found = [_slowed_of(row) for row in db.execute(query, [lane, provider]).fetchall()]
            if found:
                db.execute(_DELETE, [lane, provider])
                db.execute(_TOUCH)
        return found

    def prune(self, now: float) -> int:
        """See `LaneStore.prune`."""
        gone = [each for each in self.slowed() if each.is_forgotten(now)]
        with self._writing() as db:
            for each in gone:
                query = f"{_DELETE} and whose = ? and since = ?"
                db.execute(query, [each.lane, each.provider, _whose(each), each.since])
            if gone:
                db.execute(_TOUCH)
            db.execute("delete from warmup_days where day < ?", [day_of(now) - KEEP_DAYS])
        return len(gone)

    def sent_on(self, day: int) -> dict[str, int]:
        """See `LaneStore.sent_on`."""
        with self._database() as db:
            query = "select key, sent from warmup_days where day = ?"
            return dict(db.execute(query, [day]).fetchall())


def _whose(slowed: Slowed) -> str:
    return _OPERATOR if slowed.by else _RULES


def _row_of(slowed: Slowed) -> list[object]:
    return [
        storable(slowed.lane),
        storable(slowed.provider),
        storable(slowed.by),
        slowed.since,
        json.dumps(slowed.rates),
        slowed.first_s,
        slowed.every_s,
        storable(slowed.why),
        storable(slowed.rule),
        slowed.base,
        slowed.strikes,
        _whose(slowed),
    ]


def _slowed_of(row: Sequence[Any]) -> Slowed:
    lane, provider, by, since, rates, first_s, every_s, why, rule, base, strikes, _ = row
    return Slowed(
        lane,
        provider,
        since,
        tuple(json.loads(rates)),
        first_s,
        every_s,
        why,
        rule,
        by,
        base,
        strikes,
    )
