"""The suppression list on a server as the process asks it that answers mail: often, briefly.

Purpose: what `suppression_lookup` is for a file: a tenant without any entry costs a look into a
dict, one with entries a question to the server, prepared, on a connection that is kept open.
Limits: the event loop waits for the answer, 0.1 ms on the same host and a round trip elsewhere, so
the server belongs into the same network. After `ANSWER_S` without one the connection is given up; a
thread makes the next, once in `RETRY_S`, and until then every question fails at once. A tenant's
first entry is seen after `REFRESH_S`, every further one at once. An older program notices within
`postgres_server.CHECK_S` that it may not go on.
Errors: `StoreUnavailable`.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg
from psycopg.pq import ExecStatus

from gatepost.errors import StoreUnavailable
from gatepost.feedback.suppression import AddressKey
from gatepost.store.postgres_schema import STATE, check_needs, migrate
from gatepost.store.postgres_server import CHECK_S, Connection, connect, shown, told
from gatepost.store.postgres_suppression import FIND
from gatepost.store.suppression_asking import REFRESH_S, RETRY_S, SuppressionAsking
from gatepost.store.suppression_key import FILE_NAME, read_secret

ANSWER_S = 0.05
_TEXT, _BINARY = 0, 1
_FIND = b"gatepost_find"
_OWNERS = b"gatepost_owners"
_KEY = b"gatepost_key"
_SCHEMA = b"gatepost_schema"
_GET_KEY = "select encode(fingerprint, 'hex') from suppression_key"
_LIST_OWNERS = "select id, tenant from suppression_owners where id > $1 order by id"
_PREPARED = ((_FIND, FIND), (_OWNERS, _LIST_OWNERS), (_KEY, _GET_KEY), (_SCHEMA, STATE))

Row = tuple[bytes | None, ...]


class PostgresSuppressionLookup(SuppressionAsking):
    """Tells whether an address is suppressed; to be used by one thread."""

    TROUBLE = (psycopg.Error, OSError, StoreUnavailable)

    def __init__(self, url: str, key_dir: Path, clock: Callable[[], float]) -> None:
        """Connect, for as long as that takes; it is tried again later if it fails.

        Args:
            url: Of the server.
            key_dir: Where the key file of the list is.
            clock: Monotonic time in seconds.
        """
        super().__init__(shown(url), clock)
        self._url = url
        self._key = key_dir / FILE_NAME
        self._connection: Connection | None = None
        self._checked_at = 0.0
        self._problem = f"{self._name}: not connected yet"
        self._closed = False
        self._lock = threading.Lock()
        self._fresh: Connection | None = None
        self._thread: threading.Thread | None = None
        self._connect()

    def close(self) -> None:
        """Close the connection."""
        self._closed = True
        self._drop()

    def _row(
        self, owner: int, key: AddressKey, now: float, *, fold: bool
    ) -> tuple[int | str | None, ...] | None:
        folded = b"t" if fold else b"f"
        values = (b"%d" % owner, key.base, folded, key.sub, b"%d" % int(now))
        rows = self._ask(_FIND, values, (_TEXT, _BINARY, _TEXT, _BINARY, _TEXT))
        return _columns_of(rows[0]) if rows else None

    def _refresh(self, monotonic: float) -> None:
        """See which tenants have entries by now."""
        self._refresh_at = monotonic + REFRESH_S
        if self._connection is None:
            self._take_fresh()
        if self._connection is None:
            self._refresh_at = monotonic + RETRY_S
            self._problem = self._problem or f"{self._name}: connecting"
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._connect, name="suppression-connect", daemon=True
                )
                self._thread.start()
            return
        if monotonic - self._checked_at > CHECK_S:
            ((have, needs),) = self._ask(_SCHEMA, (), ())
            check_needs(_number(have), _number(needs))
            self._checked_at = monotonic
        rows = self._ask(_OWNERS, (b"%d" % self._last_owner,), (_TEXT,))
        self._learn((_number(owner), _text(tenant) or "") for owner, tenant in rows)

    def _read_secret(self) -> bytes:
        rows = self._ask(_KEY, (), ())
        if not rows:
            raise StoreUnavailable("the suppression list has no key yet")
        fingerprint = bytes.fromhex(_text(rows[0][0]) or "")
        return read_secret(self._key, fingerprint, "copy it from a node that has it")

    def _ask(self, statement: bytes, values: Sequence[bytes], formats: Sequence[int]) -> list[Row]:
        """Return the rows that a prepared statement gives, all within `ANSWER_S`."""
        assert self._connection is not None
        raw = self._connection.pgconn
        raw.send_query_prepared(statement, values, param_formats=formats, result_format=_TEXT)
        ready = select.poll()
        ready.register(raw.socket, select.POLLIN)
        deadline = time.monotonic() + ANSWER_S
        while raw.flush() or raw.is_busy():
            left = deadline - time.monotonic()
            if left <= 0 or not ready.poll(left * 1000):
                raise StoreUnavailable(f"no answer within {ANSWER_S * 1000:.0f} ms")
            raw.consume_input()
        found: list[Row] = []
        while (result := raw.get_result()) is not None:
            if result.status != ExecStatus.TUPLES_OK:
                raise StoreUnavailable(told(psycopg.OperationalError(result.get_error_message())))
            found += (
                tuple(result.get_value(row, column) for column in range(result.nfields))
                for row in range(result.ntuples)
            )
        return found

    def _connect(self) -> None:
        """Make a connection for the next look; on a thread of its own once mail is answered."""
        try:
            connection = connect(self._url)
            try:
                connection.patient = True
                migrate(connection)
                raw = connection.pgconn
                for name, query in _PREPARED:
                    result = raw.prepare(name, query.encode())
                    if result.status != ExecStatus.COMMAND_OK:
                        raise psycopg.OperationalError(result.get_error_message())
                raw.nonblocking = 1
            except BaseException:
                connection.close()
                raise
        except (psycopg.Error, OSError, StoreUnavailable) as error:
            self._problem = f"{self._name}: {told(error)}"
            return
        with self._lock:
            old, self._fresh = self._fresh, None if self._closed else connection
        if self._closed:
            connection.close()
        if old is not None:
            old.close()

    def _take_fresh(self) -> None:
        with self._lock:
            self._connection, self._fresh = self._fresh, None
        self._owners = {}
        self._last_owner = 0
        self._secret = b""

    def _drop(self) -> None:
        with self._lock:
            connections = (self._connection, self._fresh)
            self._connection = self._fresh = None
        for each in connections:
            if each is not None:
                with contextlib.suppress(Exception):
                    each.close()
        self._owners = {}

    def _told(self, error: Exception) -> str:
        return told(error)


def _columns_of(row: Row) -> tuple[int | str | None, ...]:
    code, at, expires, address, source, note = row
    return (
        *(_number(code), _number(at), None if expires is None else _number(expires)),
        *(_text(address), _text(source), _text(note)),
    )


def _number(octets: bytes | None) -> int:
    return int(octets or b"0")


def _text(octets: bytes | None) -> str | None:
    return None if octets is None else octets.decode()
