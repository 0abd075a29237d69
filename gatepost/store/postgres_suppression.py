"""The suppression list in PostgreSQL; see `suppression` and `postgres_server`.

Purpose: all nodes have the same lists; ten million addresses cost a look-up no more than one does.
Format: as in SQLite, see `sqlite_suppression`; a row for each list, address and reason, found by a
keyed hash in the order of the primary key.
Limits: see `suppression_rows`. An import sorts what it reads in a file of `tempfile`'s directory.
Errors, security: see `postgres_server` and `suppression_key`. The key stays out of the database;
every node has a copy of the file, and one that has none, or another, says so.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gatepost.feedback.suppression import AddressKey
from gatepost.store.engine import Queryable
from gatepost.store.external_sort import Row, sorted_rows
from gatepost.store.postgres_server import Connection, PostgresServer, changed
from gatepost.store.suppression_key import load_shared_secret
from gatepost.store.suppression_queries import SuppressionQueries
from gatepost.store.suppression_rows import COLUMNS, FIRST_LIFTED

LOAD_ROWS = 4_000

FIND = f"""
select {COLUMNS} from suppression
where owner = $1 and key = $2 and ($3 or sub = $4) and (expires is null or expires > $5)
order by reason limit 1
"""
_FIND = f"""
select {COLUMNS} from suppression
where owner = %s and key = %s and (%s or sub = %s) and (expires is null or expires > %s)
order by reason limit 1
"""
# As `gatepost.feedback.suppression.merged` has it; an end that is null holds for good.
_AT = f"""case
        when was.expires <= excluded.at then excluded.at
        when was.reason >= {FIRST_LIFTED} then greatest(was.at, excluded.at)
        else least(was.at, excluded.at) end"""
_EXPIRES = """case
        when was.expires is null or excluded.expires is null then null
        else greatest(was.expires, excluded.expires) end"""
_ADD = f"""
insert into suppression as was (owner, key, sub, reason, at, expires, address, source, note)
select * from unnest(%s::integer[], %s::bytea[], %s::bytea[], %s::smallint[], %s::bigint[],
    %s::bigint[], %s::text[], %s::text[], %s::text[])
on conflict (owner, key, sub, reason) do update set
    at = {_AT}, expires = {_EXPIRES},
    address = coalesce(was.address, excluded.address),
    source = coalesce(was.source, excluded.source),
    note = coalesce(excluded.note, was.note)
where (was.at, was.expires, was.address, was.source, was.note) is distinct from (
    {_AT}, {_EXPIRES}, coalesce(was.address, excluded.address),
    coalesce(was.source, excluded.source), coalesce(excluded.note, was.note)
)
"""
_PRUNE = f"""
delete from suppression where (owner, key, sub, reason) in (
    select owner, key, sub, reason from suppression where expires <= %s
    limit {LOAD_ROWS} for update skip locked
)
"""
_PRUNE_SOFT = f"""
delete from suppression_soft where (owner, key, sub, event) in (
    select owner, key, sub, event from suppression_soft where at <= %s
    limit {LOAD_ROWS} for update skip locked
)
"""
# Two nodes that count the bounces of one address do so one after the other.
_TAKE_TURN = "select pg_advisory_xact_lock(%s)"
# Whoever asks for new lists goes on by their number: it must not appear before a lower one.
_NUMBERING = 0x6761_7465_6F77_6E73


class PostgresSuppression(PostgresServer, SuppressionQueries):
    """Implements `gatepost.store.suppression.SuppressionStore`."""

    ROWS = LOAD_ROWS
    PRUNE = _PRUNE
    PRUNE_SOFT = _PRUNE_SOFT

    def __init__(self, url: str, *, create: bool = True, key_dir: Path) -> None:
        """See `PostgresServer`.

        Args:
            url: Where it is.
            create: Make the tables if there are none.
            key_dir: Where the key file of the list is.
        """
        self._key_dir = key_dir
        super().__init__(url, create=create)

    def _row(
        self, db: Connection, owner: int, key: AddressKey, now: float, *, fold: bool
    ) -> tuple[Any, ...] | None:
        return db.execute(_FIND, [owner, key.base, fold, key.sub, now]).fetchone()

    def _put(self, db: Connection, rows: Sequence[Sequence[Any]]) -> int:
        # One statement changes a row once: those of one address and reason go into one each.
        rounds: list[list[Sequence[Any]]] = []
        seen: defaultdict[tuple[Any, ...], int] = defaultdict(int)
        for row in rows:
            key = tuple(row[:4])
            if seen[key] == len(rounds):
                rounds.append([])
            rounds[seen[key]].append(row)
            seen[key] += 1
        changes = 0
        for each in rounds:
            columns = [list(column) for column in zip(*each, strict=True)]
            changes += changed(db.execute(_ADD, columns))
        return changes

    def _make_owners(self, db: Connection, tenants: Iterable[str]) -> dict[str, int]:
        names = sorted(tenants)
        query = "select tenant, id from suppression_owners where tenant = any(%s)"
        found = {row[0]: int(row[1]) for row in db.execute(query, [names])}
        if missing := [name for name in names if name not in found]:
            db.execute(_TAKE_TURN, [_NUMBERING])
            db.execute(
                "insert into suppression_owners (tenant) select unnest(%s::text[]) "
                "on conflict do nothing",
                [missing],
            )
            found = {row[0]: int(row[1]) for row in db.execute(query, [names])}
        return found

    def _load_secret(self, db: Connection) -> bytes:
        return load_shared_secret(self._key_dir, _Fingerprint(db))

    def _directory(self) -> Path:
        return Path(tempfile.gettempdir())

    def _sorted(self, rows: Iterator[Row], directory: Path) -> Iterator[Row]:
        return sorted_rows(rows, directory)

    def _hold(self, db: Queryable, owner: int, key: bytes) -> None:
        db.execute(_TAKE_TURN, [_number(owner, key)])


class _Fingerprint:
    """What the database holds of the secret."""

    def __init__(self, db: Connection) -> None:
        self._db = db

    def get(self) -> bytes | None:
        row = self._db.execute("select fingerprint from suppression_key").fetchone()
        return None if row is None else bytes(row[0])

    def put(self, fingerprint: bytes) -> None:
        self._db.execute(
            "insert into suppression_key values (1, %s) on conflict do nothing", [fingerprint]
        )


def _number(owner: int, key: bytes) -> int:
    digest = hashlib.blake2b(b"%d %s" % (owner, key), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
