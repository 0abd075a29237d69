"""What Gatepost has put on hold, in SQLite; see `held` and `sqlite_file`."""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gatepost.store.held import Cause, Held
from gatepost.store.sqlite_file import SqliteFile, storable

_COLUMNS = "instance, queue_id, arrival, tenant, cause, at, campaign, domain"
_PUT = f"insert or replace into held ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?)"
_ALL = f"select {_COLUMNS} from held"


class SqliteHeld(SqliteFile):
    """Implements `HeldStore`."""

    def add(self, rows: Sequence[Held]) -> None:
        """See `HeldStore.add`."""
        values = [
            (
                *(storable(each.instance), each.queue_id, each.arrival, each.tenant),
                *(each.cause.value, each.at, storable(each.campaign), each.domain),
            )
            for each in rows
        ]
        with self._writing() as db:
            db.conn.executemany(_PUT, values)

    def all(self, tenant: str | None = None) -> list[Held]:
        """See `HeldStore.all`."""
        where = "where tenant = ?" if tenant is not None else ""
        query = f"{_ALL} {where} order by at, instance, queue_id"
        with self._database() as db:
            rows = db.execute(query, [] if tenant is None else [tenant]).fetchall()
        return [
            Held(instance, queue_id, arrival, tenant, Cause(cause), *rest)
            for instance, queue_id, arrival, tenant, cause, *rest in rows
        ]

    def remove(self, messages: Iterable[tuple[str, str]]) -> None:
        """See `HeldStore.remove`."""
        with self._writing() as db:
            db.conn.executemany(
                "delete from held where instance = ? and queue_id = ?",
                [(storable(instance), queue_id) for instance, queue_id in messages],
            )
