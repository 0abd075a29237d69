"""The store in one SQLite file: the default, for one host.

Purpose: several processes of one host write observations, the command line reads them; no server
has to run.
Source: SQLite "Write-Ahead Logging", "Result and Error Codes".
Limits: a writer waits 5 s for another, many times what a batch of 500 rows takes; a transaction
that was committed survives the death of any process (WAL, synchronous=NORMAL), and only the last
ones may be lost, never the file, when the host loses power.
Errors: every trouble is a `StoreUnavailable` that names the file; the connection is then closed,
and the next call opens a new one, so a repaired or replaced file is picked up without a restart.
Security: the file is made with mode 0640 and, if root makes it, given to the owner of its
directory, so that a report run by root does not shut out the service.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlite_utils import Database

from gatepost.errors import StoreUnavailable
from gatepost.modes import Feature, Observation
from gatepost.store.interface import EXAMPLES, SECONDS_AN_HOUR, WhatIf
from gatepost.store.schema import migrate

BUSY_TIMEOUT_S = 5.0
FILE_MODE = 0o640
ROLL_UP_ROWS = 20_000

_COLUMNS = "at, tenant, feature, action, detail, queue_id, sender, recipient"
_KEY = "tenant, feature, action"

_INSERT = f"insert into observations ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?)"

# What one transaction of a roll-up takes: the oldest rows, as ids grow with time.
_SPAN = f"""
select max(id) from (
    select id from observations where at < :before order by id limit {ROLL_UP_ROWS}
)
"""

_FOLD = f"""
insert into observation_hours (hour, {_KEY}, count)
select cast(at / {SECONDS_AN_HOUR} as integer) as hour, {_KEY}, count(*)
from observations where id <= :last and at < :before group by hour, {_KEY}
on conflict (hour, {_KEY}) do update set count = count + excluded.count
"""

_KEEP_EXAMPLES = f"""
insert into observation_examples ({_COLUMNS})
select {_COLUMNS} from (
    select {_COLUMNS}, row_number() over (partition by {_KEY} order by at desc, id desc) as rank
    from observations where id <= :last and at < :before
) where rank <= {EXAMPLES}
"""

_FORGET = "delete from observations where id <= :last and at < :before"

_CUT_EXAMPLES = f"""
delete from observation_examples where id in (
    select id from (
        select id, row_number() over (partition by {_KEY} order by at desc, id desc) as rank
        from observation_examples
    ) where rank > {EXAMPLES}
)
"""

_FILTER = "(:tenant is null or tenant = :tenant) and (:feature is null or feature = :feature)"

_SUMS = f"""
select {_KEY}, sum(n), min(first_at), max(last_at) from (
    select {_KEY}, count(*) as n, min(at) as first_at, max(at) as last_at
    from observations where at >= :since and {_FILTER} group by {_KEY}
    union all
    select {_KEY}, sum(count),
        min(hour) * {SECONDS_AN_HOUR}.0, (max(hour) + 1) * {SECONDS_AN_HOUR}.0
    from observation_hours where hour >= :since_hour and {_FILTER} group by {_KEY}
) group by {_KEY} order by sum(n) desc, {_KEY}
"""

_EXAMPLES = f"""
select {_COLUMNS} from (
    select {_COLUMNS}, row_number() over (partition by {_KEY} order by at desc) as rank from (
        select {_COLUMNS} from observations where at >= :since and {_FILTER}
        union all
        select {_COLUMNS} from observation_examples where at >= :since_hour_at and {_FILTER}
    )
) where rank <= {EXAMPLES} order by at desc
"""


class SqliteStore:
    """Implements `ObservationStore`; one connection for each thread that calls."""

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

    def add(self, observations: Sequence[Observation]) -> None:
        """See `ObservationStore.add`."""
        with self._writing() as db:
            db.conn.executemany(_INSERT, map(_row_of, observations))

    def roll_up(self, before: float) -> int:
        """See `ObservationStore.roll_up`."""
        folded = 0
        while step := self._roll_up_some(_hour_of(before) * SECONDS_AN_HOUR):
            folded += step
        return folded

    def _roll_up_some(self, before: int) -> int:
        # In steps, each a transaction: writers of observations get in between.
        with self._writing() as db:
            last = db.execute(_SPAN, {"before": before}).fetchone()[0]
            if last is None:
                return 0
            span = {"before": before, "last": last}
            db.execute(_FOLD, span)
            db.execute(_KEEP_EXAMPLES, span)
            db.execute(_CUT_EXAMPLES)
            return db.execute(_FORGET, span).rowcount

    def prune(self, before: float) -> int:
        """See `ObservationStore.prune`."""
        hour = _hour_of(before)
        with self._writing() as db:
            db.execute("delete from observation_examples where at < ?", [hour * SECONDS_AN_HOUR])
            return db.execute("delete from observation_hours where hour < ?", [hour]).rowcount

    def what_if(
        self, since: float, tenant: str | None = None, feature: Feature | None = None
    ) -> list[WhatIf]:
        """See `ObservationStore.what_if`."""
        values = {
            "since": since,
            "since_hour": _hour_of(since),
            "since_hour_at": _hour_of(since) * SECONDS_AN_HOUR,
            "tenant": tenant,
            "feature": feature,
        }
        # One transaction, so that a roll-up between the two queries cannot show.
        with self._database() as db, db.atomic():
            sums = db.execute(_SUMS, values).fetchall()
            rows = db.execute(_EXAMPLES, values).fetchall()
        examples: dict[tuple[str, str, str], list[Observation]] = {}
        for at, of_tenant, of_feature, action, *rest in rows:
            examples.setdefault((of_tenant, of_feature, action), []).append(
                Observation(at, of_tenant, Feature(of_feature), action, *rest)
            )
        return [
            WhatIf(key[0], Feature(key[1]), key[2], n, first, last, tuple(examples.get(key, ())))
            for *key_parts, n, first, last in sums
            for key in [tuple(key_parts)]
        ]

    def close(self) -> None:
        """See `ObservationStore.close`."""
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


def _hour_of(at: float) -> int:
    return int(at // SECONDS_AN_HOUR)


def _row_of(seen: Observation) -> tuple[float | str, ...]:
    texts = (
        seen.tenant,
        seen.feature.value,
        seen.action,
        seen.detail,
        seen.queue_id,
        seen.sender,
        seen.recipient,
    )
    return (seen.at, *map(_storable, texts))


def _storable(text: str) -> str:
    # SQLite stores UTF-8, which has no surrogates; addresses may hold surrogate escapes.
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
