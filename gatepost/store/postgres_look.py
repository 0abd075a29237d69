"""What there is to say of the server of state, for ``doctor`` and ``status``.

Errors: `look_at_server` raises `StoreUnavailable` if it cannot be asked.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import psycopg

from gatepost.errors import StoreUnavailable
from gatepost.store.postgres_schema import MIGRATIONS, version_of
from gatepost.store.postgres_server import Connection, connect, shown, told

_ASK = """
select current_setting('server_version'), current_setting('server_version_num')::integer,
    current_setting('max_connections')::integer, current_setting('synchronous_commit'),
    current_setting('autovacuum')::boolean, exists (select 1 from pg_stat_ssl
        where pid = pg_backend_pid() and ssl), inet_server_addr() is null,
    (select count(*) from pg_stat_activity where backend_type = 'client backend')
"""


@dataclass(frozen=True, slots=True)
class SeenServer:
    """A server of PostgreSQL.

    Attributes:
        url: Where, without password.
        version: As it names itself.
        number: Main and lesser number of its version.
        schema: How many steps the database has had.
        needs: How many a program must know.
        known: How many this one knows.
        encrypted: Whether the connection is, or needs not be, as it leads through a local socket.
        connections: How many there are.
        max_connections: How many there may be.
        commits: Value of ``synchronous_commit``.
        vacuums: Whether the server gives deleted rows back by itself.
        answer_s: Seconds that a short question took.
    """

    url: str
    version: str
    number: tuple[int, int]
    schema: int
    needs: int
    known: int
    encrypted: bool
    connections: int
    max_connections: int
    commits: str
    vacuums: bool
    answer_s: float

    def __str__(self) -> str:
        """Return it in one line."""
        if self.schema == 0:
            schema = "no tables yet"
        elif self.schema == self.known:
            schema = f"schema {self.schema}"
        else:
            schema = f"schema {self.schema}, this version has {self.known}"
        return f"PostgreSQL {self.version} at {self.url}, {schema}"


def look_at_server(url: str) -> SeenServer:
    """Return what a server says of itself; nothing is made or changed.

    Raises:
        StoreUnavailable: If it cannot be asked.
    """
    try:
        with contextlib.closing(connect(url)) as db:
            return _look(db, url)
    except psycopg.Error as error:
        raise StoreUnavailable(f"{shown(url)}: {told(error)}") from error


def _look(db: Connection, url: str) -> SeenServer:
    schema, needs = version_of(db)
    row = db.execute(_ASK).fetchone()
    assert row is not None
    version, number, most, commits, vacuums, tls, local, connections = row
    begun = time.monotonic()
    db.execute("select 1")
    answer_s = time.monotonic() - begun
    return SeenServer(
        shown(url),
        version.split()[0],
        (number // 10_000, number % 10_000),
        *(schema, needs, len(MIGRATIONS), tls or local, connections, most, commits, vacuums),
        answer_s,
    )
