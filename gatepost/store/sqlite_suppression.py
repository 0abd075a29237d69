"""The suppression list in SQLite.

Purpose: see `store.suppression`. Ten million addresses must cost a look-up no more than one do.
Format: a row for each list, address and reason, found by a keyed hash (`feedback.suppression`), so
that the key is short and of equal length, and is the same whether the address is kept or not.
Limits: see `suppression_rows`.
Errors, security: see `sqlite_file` and `suppression_key`.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from gatepost.feedback.suppression import AddressKey
from gatepost.store.external_sort import Row, sorted_rows
from gatepost.store.sqlite_file import SqliteFile
from gatepost.store.suppression_key import load_secret
from gatepost.store.suppression_queries import SuppressionQueries
from gatepost.store.suppression_rows import FIRST_LIFTED, find_row

# How many rows are written in one go: others wait for less than 0.1 s.
LOAD_ROWS = 2_000

# As `gatepost.feedback.suppression.merged` has it.
_ADD = f"""
insert into suppression (owner, key, sub, reason, at, expires, address, source, note)
values (?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict do update set
    at = case
        when expires <= excluded.at then excluded.at
        when reason >= {FIRST_LIFTED} then max(at, excluded.at)
        else min(at, excluded.at) end,
    expires = max(expires, excluded.expires),
    address = coalesce(address, excluded.address),
    source = coalesce(source, excluded.source),
    note = coalesce(excluded.note, note)
where at is not case
        when expires <= excluded.at then excluded.at
        when reason >= {FIRST_LIFTED} then max(at, excluded.at)
        else min(at, excluded.at) end
    or expires is not max(expires, excluded.expires)
    or address is not coalesce(address, excluded.address)
    or source is not coalesce(source, excluded.source)
    or note is not coalesce(excluded.note, note)
"""
_PRUNE = f"""
delete from suppression where (owner, key, sub, reason) in (
    select owner, key, sub, reason from suppression where expires <= ? limit {LOAD_ROWS}
)
"""
_PRUNE_SOFT = f"""
delete from suppression_soft where (owner, key, sub, event) in (
    select owner, key, sub, event from suppression_soft where at <= ? limit {LOAD_ROWS}
)
"""


class SqliteSuppression(SqliteFile, SuppressionQueries):
    """Implements `gatepost.store.suppression.SuppressionStore`."""

    ROWS = LOAD_ROWS
    PRUNE = _PRUNE
    PRUNE_SOFT = _PRUNE_SOFT

    def _row(
        self, db: Database, owner: int, key: AddressKey, now: float, *, fold: bool
    ) -> tuple[Any, ...] | None:
        return find_row(db.conn, owner, key, now, fold=fold)

    def _put(self, db: Database, rows: Sequence[Sequence[Any]]) -> int:
        before = db.conn.total_changes
        db.conn.executemany(_ADD, rows)
        return db.conn.total_changes - before

    def _make_owners(self, db: Database, tenants: Iterable[str]) -> dict[str, int]:
        owners = {}
        for tenant in tenants:
            select = ("select id from suppression_owners where tenant = ?", (tenant,))
            if db.execute(*select).fetchone() is None:
                db.execute("insert into suppression_owners (tenant) values (?)", (tenant,))
            owners[tenant] = int(db.execute(*select).fetchone()[0])
        return owners

    def _load_secret(self, db: Database) -> bytes:
        return load_secret(self.path, db)

    def _directory(self) -> Path:
        return self.path.parent

    def _sorted(self, rows: Iterator[Row], directory: Path) -> Iterator[Row]:
        return sorted_rows(rows, directory)
