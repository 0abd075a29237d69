"""One PostgreSQL as every store in it uses it: connect, upgrade, give up and come back.

Purpose: several nodes share what is kept there; each concern is a class of its own upon
`PostgresServer`, as with `sqlite_file.SqliteFile`.
Format: ``postgresql://user@host/database``, as libpq reads it, with several hosts where one stands
by for another. A password belongs into a file of libpq's (``passfile``, ``service``).
Source: PostgreSQL "Database Connection Control Functions", "Client Connection Defaults".
Limits: all stores of a thread share one connection, so that a node takes some 15 of the server's.
Connecting gives up after 3 s, a statement after 5 s, a wait for a lock after 3 s, a host that is
gone after 10 s, a server that hangs after `postgres_watch.SILENT_S`; a node that stops within a
transaction holds up others for 10 s. What is too old to keep, a node whose clock is ahead of the
server's by more than `AHEAD_S` tells by the server's. The server must be of version 13 or newer,
and the database encoded in UTF-8.
Errors: every trouble is a `StoreUnavailable` that names the server, never a password; the
connection is then closed, and the next call makes a new one.
Security: whoever may connect as this user may read all envelope addresses.
Not handled: a pooler that gives each transaction to another connection (use its session mode).
"""

from __future__ import annotations

import contextlib
import re
import select
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from gatepost.errors import StoreUnavailable
from gatepost.store.postgres_schema import check_version, migrate
from gatepost.store.postgres_watch import WatchedConnection, watched

CONNECT_S = 3
STATEMENT_MS = 5_000
LOCK_MS = 3_000
IDLE_MS = 10_000
# How soon a program that may not go on with a newer schema notices.
CHECK_S = 30.0
# By how much the clock of a node may be ahead of the server's before anything is made of it.
AHEAD_S = 60.0

Connection: TypeAlias = WatchedConnection

# Not what a value is cast to, which has two colons.
_NAMED = re.compile(r"(?<!:):([a-z_]+)")

_DEFAULTS: dict[str, str | int] = {
    "connect_timeout": CONNECT_S,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "gatepost",
    "client_encoding": "utf8",
    # Of several hosts the one that may be written to, and no standby by mistake.
    "target_session_attrs": "read-write",
}
_SESSION = f"""
select set_config(name, value, false) from (values
    ('statement_timeout', '{STATEMENT_MS}'), ('lock_timeout', '{LOCK_MS}'),
    ('idle_in_transaction_session_timeout', '{IDLE_MS}'), ('tcp_keepalives_idle', '5'),
    ('tcp_keepalives_interval', '2'), ('tcp_keepalives_count', '3')
) as wanted (name, value)
"""  # noqa: S608  # numbers of this module


@dataclass(slots=True)
class _Link:
    """The connection of one thread to one server, and which stores use it."""

    connection: Connection | None = None
    users: set[int] = field(default_factory=set)
    checked_at: float = 0.0

    def drop(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()


class _Links(threading.local):
    def __init__(self) -> None:
        self.by_url: dict[str, _Link] = {}


_links = _Links()


class PostgresServer:
    """A store in a database of PostgreSQL; one connection for each thread that calls."""

    MARK = "%s"

    def __init__(self, url: str, *, create: bool = True) -> None:
        """Connect, and bring the database up to date.

        Args:
            url: Where it is.
            create: Make the tables if there are none.

        Raises:
            StoreUnavailable: If that cannot be done.
        """
        self.url = url
        self.name = shown(url)
        self._create = create
        self._local = threading.local()
        try:
            with self._database():
                pass
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection of the calling thread, unless another store of it uses it."""
        link = _links.by_url.get(self.url)
        if link is None:
            return
        link.users.discard(id(self))
        if not link.users:
            link.drop()
            del _links.by_url[self.url]

    @contextlib.contextmanager
    def _database(self) -> Iterator[Connection]:
        """Give this thread's connection, and turn every trouble into `StoreUnavailable`."""
        link = _links.by_url.setdefault(self.url, _Link())
        link.users.add(id(self))
        try:
            yield self._connection(link)
        except psycopg.Error as error:
            link.drop()
            raise StoreUnavailable(f"{self.name}: {told(error)}") from error
        except OSError as error:
            # A file of this host's, such as the key of a list.
            raise StoreUnavailable(told(error)) from error
        except StoreUnavailable:
            link.drop()
            raise

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._database() as db, db.transaction():
            yield db

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        """Give a connection on which several queries see the data of one moment."""
        with self._writing() as db:
            db.execute("set transaction isolation level repeatable read, read only")
            yield db

    def _named(self, statement: str) -> str:
        """Return a statement with ``%(owner)s`` for ``:owner``, and so on."""
        return _NAMED.sub(r"%(\1)s", statement)

    def _by_server(self, at: float) -> float:
        """Return a time that was reckoned from now as the server's clock has it, if that is behind.

        One node with a wrong clock must not delete what all nodes keep.
        """
        with self._database() as db:
            row = db.execute("select extract(epoch from clock_timestamp())").fetchone()
        assert row is not None
        ahead = time.time() - float(row[0])
        return at - ahead if ahead > AHEAD_S else at

    def _connection(self, link: _Link) -> Connection:
        connection = link.connection
        if connection is not None and _is_over(connection):
            link.drop()
            connection = None
        if connection is None:
            connection = link.connection = connect(self.url)
            try:
                connection.patient = True
                migrate(connection, create=self._create)
                connection.patient = False
            except StoreUnavailable as error:
                raise StoreUnavailable(f"{self.name}: {error}") from error
            link.checked_at = time.monotonic()
        elif time.monotonic() - link.checked_at > CHECK_S:
            if connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
                check_version(connection)
            link.checked_at = time.monotonic()
        return connection


def changed(cursor: psycopg.Cursor[tuple[Any, ...]]) -> int:
    """Return how many rows a statement has changed or made."""
    return max(0, cursor.rowcount)


def connect(url: str) -> Connection:
    """Return a new connection that begins no transaction by itself.

    Raises:
        psycopg.Error: If there is none to be had.
        StoreUnavailable: If the URL cannot be read.
    """
    connection = watched(conninfo(url))
    try:
        connection.execute(_SESSION)
    except BaseException:
        connection.close()
        raise
    return connection


def conninfo(url: str) -> str:
    """Return what libpq is told: the URL, and what it does not say.

    Raises:
        StoreUnavailable: If it cannot be read.
    """
    if url.partition("?")[0].count("@") > 1:
        raise StoreUnavailable(
            f"{shown(url)}: the URL cannot be read: write %40 for an @ within it"
        )
    try:
        given = conninfo_to_dict(url)
        return make_conninfo(url, **{k: v for k, v in _DEFAULTS.items() if k not in given})
    except psycopg.Error:
        # What libpq says may quote any part of the URL, and so a password.
        raise StoreUnavailable(f"{shown(url)}: the URL cannot be read") from None


def shown(url: str) -> str:
    """Return a URL without password and parameters."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    # A password may hold anything, so what stands before the last @ is its end.
    before, at, place = rest.rpartition("@")
    return f"{scheme}://{before.partition(':')[0]}{at}{place}"


def told(error: BaseException) -> str:
    """Return what a driver said, in one line."""
    lines = [line.strip() for line in str(error).splitlines()]
    return "; ".join(line for line in lines if line) or type(error).__name__


def _is_over(connection: Connection) -> bool:
    """Tell whether the server has closed the connection, without asking it anything.

    While nobody asks, nothing comes but the news that the connection is closed, or a notice.
    """
    if connection.closed:
        return True
    if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        return connection.info.transaction_status == psycopg.pq.TransactionStatus.UNKNOWN
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
