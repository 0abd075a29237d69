"""One SQLite file as every store in it uses it: open, upgrade, lock, give up and come back.

Purpose: several processes of one host write to the same file; each concern (observations, TLS
policies, deliveries) is a class of its own upon `SqliteFile`, with its own connection.
Source: SQLite "Write-Ahead Logging", "Result and Error Codes".
Limits: a writer waits 5 s for another, many times what a batch of 500 rows takes; a transaction
that was committed survives the death of any process (WAL, synchronous=NORMAL), and only the last
ones may be lost, never the file, when the host loses power.
Errors: every trouble is a `StoreUnavailable` that names the file; the connection is then closed,
and the next call opens a new one, so a repaired or replaced file is picked up without a restart.
Security: the file is made with mode 0640 and, if root makes it, given to the owner of its
directory, so that a report run by root does not shut out the service.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from sqlite_utils import Database

from gatepost.errors import StoreUnavailable
from gatepost.store.schema import migrate
from gatepost.store.text import storable

__all__ = ["BUSY_TIMEOUT_S", "FILE_MODE", "SqliteFile", "storable"]

BUSY_TIMEOUT_S = 5.0
FILE_MODE = 0o640


class SqliteFile:
    """A database file; one connection for each thread that calls."""

    MARK = "?"

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Open the database and bring it up to date.

        Args:
            path: The file; its directory must exist.
            create: Make the file if there is none.

        Raises:
            StoreUnavailable: If that cannot be done.
        """
        self.path = path
        self._create = create
        self._local = threading.local()
        with self._database():
            pass

    def close(self) -> None:
        """Close the connection of the calling thread."""
        db: Database | None = getattr(self._local, "db", None)
        self._local.db = None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()

    @contextlib.contextmanager
    def _database(self) -> Iterator[Database]:
        """Give this thread's connection, and turn every trouble into `StoreUnavailable`."""
        try:
            yield self._connection()
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StoreUnavailable(f"{self.path}: {error}") from error

    def _connection(self) -> Database:
        db: Database | None = getattr(self._local, "db", None)
        # An operator who removes or restores the file must not leave us writing to the old one.
        if db is not None and _identity(self.path) != self._local.identity:
            self.close()
            db = None
        if db is None:
            db = self._local.db = _connect(self.path, create=self._create)
            self._local.identity = _identity(self.path)
        return db

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Database]:
        with self._database() as db, _write_lock(db):
            yield db

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Database]:
        """Give a connection on which several queries see the data of one moment."""
        with self._database() as db, db.atomic():
            yield db

    def _named(self, statement: str) -> str:
        """Return a statement as it is, since values are named so here."""
        return statement

    def _by_server(self, at: float) -> float:
        """Return a time as it is: whoever uses the file has the clock of its host."""
        return at


@contextlib.contextmanager
def _write_lock(db: Database) -> Iterator[None]:
    """Take the write lock at once.

    A transaction that begins by reading fails, without waiting, when another has written meanwhile
    (SQLITE_BUSY_SNAPSHOT); one that begins by writing waits for its turn.
    """
    db.conn.execute("begin immediate")
    try:
        yield
        db.conn.execute("commit")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.rollback()
        raise


def _connect(path: Path, *, create: bool) -> Database:
    with _set_up_lock(path.parent):
        if not path.exists():
            if not create:
                raise FileNotFoundError(f"{path.name} does not exist; nothing was recorded yet")
            _make(path)
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            db = Database(connection, execute_plugins=False)
            db.enable_wal()
            db.execute("pragma synchronous = normal")
            with _write_lock(db):
                migrate(db)
        except StoreUnavailable as error:
            connection.close()
            raise StoreUnavailable(f"{path}: {error}") from error
        except BaseException:
            connection.close()
            raise
    return db


@contextlib.contextmanager
def _set_up_lock(directory: Path) -> Iterator[None]:
    """Let one process at a time set up a database.

    The change to WAL does not wait for others as writing does, so it fails at once when two
    processes make the database together. The lock is on the directory because closing the file
    itself would drop the locks that SQLite holds on it.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make(path: Path) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, FILE_MODE)
    try:
        os.fchmod(descriptor, FILE_MODE)
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
    finally:
        os.close(descriptor)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
