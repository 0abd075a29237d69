"""The suppression list as the process asks it that answers mail: often, and without waiting.

Purpose: one connection, kept open, that only reads. A tenant without any entry costs a look into a
dict (`SuppressionLookup.may_hold`); one with entries costs one point query more, however many
entries there are.
Source: SQLite "Write-Ahead Logging": readers do not wait for writers.
Limits: a tenant's first entry is seen after `REFRESH_S`, every further one at once. A read that
must wait all the same, such as while SQLite recovers after a crash, gives up after 50 ms.
Errors: `StoreUnavailable`. After a failure the database is opened anew, once in `RETRY_S`; until
then every question fails at once.
Not handled: the database is not made here, nor brought up to date.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gatepost.errors import StoreUnavailable
from gatepost.feedback.suppression import AddressKey
from gatepost.store.suppression_asking import REFRESH_S, RETRY_S, SuppressionAsking
from gatepost.store.suppression_key import FILE_NAME, read_secret
from gatepost.store.suppression_rows import find_row

__all__ = ["REFRESH_S", "RETRY_S", "SuppressionLookup"]

_BUSY_S = 0.05


class SuppressionLookup(SuppressionAsking):
    """Tells whether an address is suppressed; to be used by one thread."""

    TROUBLE = (sqlite3.Error, OSError, StoreUnavailable)

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """Describe it; the database is opened with the first question.

        Args:
            path: The database's file.
            clock: Monotonic time in seconds.
        """
        super().__init__(str(path), clock)
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._owners = {}
        self._last_owner = 0

    def _row(
        self, owner: int, key: AddressKey, now: float, *, fold: bool
    ) -> tuple[Any, ...] | None:
        assert self._connection is not None
        return find_row(self._connection, owner, key, now, fold=fold)

    def _refresh(self, monotonic: float) -> None:
        """See which tenants have entries by now, in whichever file is there by now."""
        self._refresh_at = monotonic + REFRESH_S
        status = self._path.stat()
        identity = (status.st_dev, status.st_ino)
        if self._connection is None or identity != self._identity:
            self.close()
            self._open()
            self._identity = identity
        assert self._connection is not None
        self._learn(
            self._connection.execute(
                "select id, tenant from suppression_owners where id > ? order by id",
                (self._last_owner,),
            ).fetchall()
        )

    def _open(self) -> None:
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None)
        self._connection = connection
        self._secret = b""
        connection.execute("pragma query_only = on")

    def _read_secret(self) -> bytes:
        assert self._connection is not None
        row = self._connection.execute("select fingerprint from suppression_key").fetchone()
        if row is None:
            raise StoreUnavailable("the suppression list has no key yet")
        return read_secret(self._path.with_name(FILE_NAME), row[0])

    def _drop(self) -> None:
        self.close()
