"""Copy what nodes share from a file of SQLite to PostgreSQL, for a platform that grows.

Purpose: move a running platform over: the first copy takes long while the platform runs on the
file, the second, with the platform stopped, brings what has changed since.
Format: rows keep their keys, and events their positions, so that webhooks go on where they were.
Limits: `ROWS` rows a transaction. A copy that was broken off, or is done again, changes only what
is missing or different. What was deleted from the file meanwhile, such as a pause, goes, too; what
is only ever pruned by its age (`_Table.only_grows`) stays until it is.
Errors: `StoreUnavailable` if either cannot be read or written, or if the server holds what does not
come from this file.
Security: the key of the suppression list is not copied: it lies beside the file, where the node
needs it, and further nodes need a copy.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatepost.errors import StoreUnavailable
from gatepost.store.postgres_server import Connection, PostgresServer, changed
from gatepost.store.sqlite_file import SqliteFile

ROWS = 5_000

_SUMS = "hour tenant campaign mail_type provider kind bounce_class severity"
_EVENT = (
    "position id kind at tenant message queue_id sender recipient campaign mail_type provider "
    "reporter details"
)
_OBSERVATION = "id at tenant feature action detail queue_id sender recipient"
_WEBHOOK = "name position batch_end tries first_at next_at success_at error_at error gone:boolean"
_STATUS = "tenant step since why counted_from scope reason paused_at until by queued"
_MESSAGE = "id at tenant queue_id sender message_id campaign mail_type recipients"
_RECEIVED = "number id at kind format reporter result reason tenant message events"


@dataclass(frozen=True, slots=True)
class _Table:
    """One table.

    Attributes:
        name: Its name, in both.
        columns: Those that are copied; ``was>name`` where the file has another name for one,
            ``name:boolean`` where the file has a number for it.
        key: What a row is known by.
        numbered: The column that the server numbers by itself otherwise, or empty.
        only_grows: Whether rows go by their age alone.
    """

    name: str
    columns: str
    key: str
    numbered: str = ""
    only_grows: bool = False

    def pairs(self) -> list[tuple[str, str, bool]]:
        """Return of each column its name in the file, on the server, and whether it is boolean."""
        found = []
        for word in self.columns.split():
            plain, _, kind = word.partition(":")
            was, arrow, name = plain.partition(">")
            found.append((was, name if arrow else was, kind == "boolean"))
        return found


_TABLES = (
    _Table("events", _EVENT, "position", only_grows=True),
    _Table("event_ids", "id day", "id", only_grows=True),
    _Table("event_labels", "day tenant label value", "day tenant label value", only_grows=True),
    _Table("event_counts", f"{_SUMS} count", _SUMS, only_grows=True),
    _Table("gmail_days", "day domain label share", "day domain label"),
    _Table("webhooks", _WEBHOOK, "name"),
    _Table(
        "webhook_dead_letters",
        "id webhook begin>first end>last events at tries error requeued:boolean",
        "id",
        "id",
    ),
    _Table("suppression_owners", "id tenant", "id", "id"),
    _Table("suppression", "owner key sub reason at expires address source note",
           "owner key sub reason"),
    _Table("suppression_soft", "owner key sub event at", "owner key sub event"),
    _Table("suppression_key", "id fingerprint", "id"),
    _Table("tenant_status", _STATUS, "tenant"),
    _Table("tenant_pauses", "tenant campaign domain reason paused_at until by queued",
           "tenant campaign domain"),
    _Table("messages", _MESSAGE, "id", only_grows=True),
    _Table("received_reports", _RECEIVED, "id", "number", only_grows=True),
    _Table("observation_hours", "hour tenant feature action count", "hour tenant feature action"),
    _Table("observation_examples", _OBSERVATION, "id", "id"),
    _Table("observations", _OBSERVATION, "id", "id"),
    _Table("api_tenants", "id settings version by at", "id"),
    _Table("api_tokens", "name digest tenant read_only:boolean created by expires", "name"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of one table.

    Attributes:
        table: Its name.
        rows: How many rows the file has.
        changed: How many were new, different or too many on the server; 0 in a dry run.
    """

    table: str
    rows: int
    changed: int = 0


class _Target(PostgresServer):
    """The server, to write to."""

    def check(self, source: sqlite3.Connection) -> None:
        """See whether what is there may come from the file.

        Raises:
            StoreUnavailable: If it does not.
        """
        mark = "select version, nonce from api_tenants_mark"
        was = source.execute(mark).fetchone()
        with self._database() as db:
            now = db.execute(mark).fetchone()
            if now is not None and (now[0] > was[0] or (now[0] == was[0] and now[1] != was[1])):
                raise StoreUnavailable(
                    f"{self.name} has tenants of the API that were changed there; "
                    "a copy would undo that"
                )
            for table, key, value in (
                ("events", "position", "id"),
                ("suppression_owners", "id", "tenant"),
                ("suppression_key", "id", "fingerprint"),
            ):
                query = f"select {key}, {value} from {table} order by {key}"
                for order in (query, f"{query} desc"):
                    there = db.execute(f"{order} limit 1").fetchone()
                    first = table == "events" and order == query
                    if there is not None and not _has(
                        source, table, key, value, there, may_be_gone=first
                    ):
                        raise StoreUnavailable(
                            f"{self.name} has {table} that do not come from this file; "
                            "copy to an empty database, or to one that was copied to from here"
                        )

    def begin(self, table: _Table) -> None:
        """Make ready for the rows of a table."""
        key = ", ".join(table.key.split())
        with self._writing() as db:
            db.execute("drop table if exists kept")
            db.execute(f"create temporary table kept as select {key} from {table.name} limit 0")

    def end(self, table: _Table) -> int:
        """Delete what the file has no more, now that all rows were put; return how much."""
        if table.only_grows:
            return 0
        same = " and ".join(f"kept.{name} = was.{name}" for name in table.key.split())
        with self._writing() as db:
            db.execute("set local statement_timeout = 0")
            db.patient = True
            db.execute("analyze kept")
            return changed(
                db.execute(
                    f"delete from {table.name} as was where not exists "
                    f"(select 1 from kept where {same})"
                )
            )

    def put(self, table: _Table, rows: list[tuple[Any, ...]]) -> int:
        """Store rows; return how many were new or different."""
        names = [name for _, name, _ in table.pairs()]
        listed, key = ", ".join(names), ", ".join(table.key.split())
        others = [name for name in names if name not in table.key.split()]
        then = "do nothing"
        if others:
            sets = ", ".join(f"{name} = excluded.{name}" for name in others)
            was, new = (", ".join(f"{of}.{n}" for n in others) for of in ("was", "excluded"))
            then = f"do update set {sets} where ({was}) is distinct from ({new})"
        with self._writing() as db:
            db.execute(
                f"create temporary table copied on commit drop as "
                f"select {listed} from {table.name} limit 0"
            )
            with db.cursor() as cursor, cursor.copy(f"copy copied ({listed}) from stdin") as copy:
                for row in rows:
                    copy.write_row(row)
            if not table.only_grows:
                db.execute(f"insert into kept select {key} from copied")
            return changed(
                db.execute(
                    f"insert into {table.name} as was ({listed}) "
                    f"{'overriding system value ' if table.numbered else ''}"
                    f"select {listed} from copied on conflict ({key}) {then}"
                )
            )

    def finish(self, source: sqlite3.Connection) -> None:
        """Let numbers go on behind those that were copied, and everybody see the change."""
        end = source.execute("select seq from sqlite_sequence where name = 'events'").fetchone()
        mark = source.execute("select version, nonce from api_tenants_mark").fetchone()
        with self._writing() as db:
            db.execute(
                "update event_stream set position = greatest(position, %s)",
                [0 if end is None else end[0]],
            )
            db.execute("update tenant_status_version set version = version + 1")
            db.execute("update api_tenants_mark set version = %s, nonce = %s", list(mark))
            for table in _TABLES:
                if table.numbered:
                    _go_on(db, table)


def copy_state(
    source: Path,
    target: str,
    told: Callable[[Copied], None] = lambda _copied: None,
    *,
    dry_run: bool = False,
) -> list[Copied]:
    """Copy all that nodes share; return what became of each table.

    Args:
        source: The file; it is brought up to date.
        target: URL of the server; its tables are made.
        told: Is called after each table.
        dry_run: Look at both, and change neither the data of one nor of the other.

    Raises:
        StoreUnavailable: See above.
    """
    SqliteFile(source, create=False).close()
    server = _Target(target, create=not dry_run)
    found = []
    try:
        with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True)) as file:
            # One view of the data, whatever is written meanwhile.
            file.execute("begin")
            server.check(file)
            for table in _TABLES:
                rows = int(file.execute(f"select count(*) from {table.name}").fetchone()[0])
                changes = 0 if dry_run else _copy(file, server, table)
                found.append(Copied(table.name, rows, changes))
                told(found[-1])
            if not dry_run:
                server.finish(file)
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{source}: {error}") from error
    finally:
        server.close()
    return found


def _copy(file: sqlite3.Connection, server: _Target, table: _Table) -> int:
    server.begin(table)
    changes = sum(server.put(table, rows) for rows in _read(file, table))
    return changes + server.end(table)


def _read(file: sqlite3.Connection, table: _Table) -> Iterator[list[tuple[Any, ...]]]:
    pairs = table.pairs()
    columns = ", ".join(f'"{was}"' for was, _, _ in pairs)
    booleans = [place for place, (_, _, boolean) in enumerate(pairs) if boolean]
    cursor = file.execute(f"select {columns} from {table.name}")
    while rows := cursor.fetchmany(ROWS):
        if booleans:
            rows = [
                tuple(bool(v) if place in booleans else v for place, v in enumerate(row))
                for row in rows
            ]
        yield [
            tuple(v.replace("\0", "\\x00") if isinstance(v, str) else v for v in row)
            for row in rows
        ]


def _has(
    file: sqlite3.Connection,
    table: str,
    key: str,
    value: str,
    there: tuple[Any, ...],
    *,
    may_be_gone: bool,
) -> bool:
    row = file.execute(f"select {value} from {table} where {key} = ?", [there[0]]).fetchone()
    if row is not None:
        return bool(row[0] == there[1])
    # Events that have been pruned from the file are no others.
    first = file.execute(f"select min({key}) from {table}").fetchone()[0]
    return may_be_gone and first is not None and there[0] < first


def _go_on(db: Connection, table: _Table) -> None:
    db.execute(
        f"select setval(pg_get_serial_sequence(%s, %s), coalesce((select max({table.numbered}) "
        f"from {table.name}), 0) + 1, false)",
        [table.name, table.numbered],
    )
