"""What Gatepost has put on hold, in SQLite; see `held` and `sqlite_file`."""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gatepost.errors import StoreUnavailable
from gatepost.store.held import Cause, Held
from gatepost.store.sqlite_file import FILE_MODE, SqliteFile, storable

_COLUMNS = "instance, queue_id, arrival, tenant, cause, at, campaign, domain"
_PUT = f"insert or replace into held ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?)"
_ALL = f"select {_COLUMNS} from held"
# Beside the database: SQLite would lose its own locks if another descriptor of that were closed.
_LOCK = "held.lock"


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
        return [_held(row) for row in rows]

    def find(self, messages: Iterable[tuple[str, str]]) -> list[Held]:
        """See `HeldStore.find`."""
        query = f"{_ALL} where instance = ? and queue_id = ?"
        with self._database() as db:
            found = (
                db.execute(query, [storable(instance), queue_id]).fetchone()
                for instance, queue_id in messages
            )
            return [_held(row) for row in found if row is not None]

    def remove(self, messages: Iterable[tuple[str, str]]) -> None:
        """See `HeldStore.remove`."""
        with self._writing() as db:
            db.conn.executemany(
                "delete from held where instance = ? and queue_id = ?",
                [(storable(instance), queue_id) for instance, queue_id in messages],
            )

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """See `HeldStore.alone`."""
        path = self.path.with_name(_LOCK)
        # The directory is the service's, and this runs as root: no link is followed.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, FILE_MODE)
        except OSError as error:
            raise StoreUnavailable(f"{path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _held(row: Sequence[Any]) -> Held:
    instance, queue_id, arrival, tenant, cause, *rest = row
    return Held(instance, queue_id, arrival, tenant, Cause(cause), *rest)
