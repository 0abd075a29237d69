"""How far those have read the stream of events who keep nothing else, such as the events file."""

from __future__ import annotations

from gatepost.store.sqlite_file import SqliteFile


class SqliteReaders(SqliteFile):
    """The positions of readers; every method raises `StoreUnavailable` and nothing else."""

    def position(self, name: str, start: int) -> int:
        """Return up to where a reader has read.

        Args:
            name: The reader.
            start: Where one that is new begins; this is then kept.
        """
        query = "select position from event_readers where name = ?"
        with self._database() as db:
            found = db.execute(query, [name]).fetchone()
        if found is None:
            self.read(name, start)
            return start
        return int(found[0])

    def read(self, name: str, position: int) -> None:
        """Note up to where a reader has read."""
        with self._writing() as db:
            db.execute("insert or replace into event_readers values (?, ?)", [name, position])
