"""The positions of readers in SQLite; see `event_readers` and `sqlite_file`."""

from __future__ import annotations

from gatepost.store.sqlite_file import SqliteFile


class SqliteReaders(SqliteFile):
    """Implements `ReaderStore`."""

    def position(self, name: str, start: int) -> int:
        """See `ReaderStore.position`."""
        query = "select position from event_readers where name = ?"
        with self._database() as db:
            found = db.execute(query, [name]).fetchone()
        if found is None:
            self.read(name, start)
            return start
        return int(found[0])

    def read(self, name: str, position: int) -> None:
        """See `ReaderStore.read`."""
        with self._writing() as db:
            db.execute("insert or replace into event_readers values (?, ?)", [name, position])
