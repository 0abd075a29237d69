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

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

from gatepost.errors import MalformedMessage, StoreUnavailable
from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.suppression import (
    GLOBAL,
    CanonicalAddress,
    Suppressed,
    canonical_address,
    key_of,
)
from gatepost.store.suppression_key import FILE_NAME, read_secret
from gatepost.store.suppression_rows import entry_of, find_row

REFRESH_S = 0.5
RETRY_S = 1.0
_BUSY_S = 0.05


class SuppressionLookup:
    """Tells whether an address is suppressed; to be used by one thread."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """Describe it; the database is opened with the first question.

        Args:
            path: The database's file.
            clock: Monotonic time in seconds.
        """
        self._path = path
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._secret = b""
        self._owners: dict[str, int] = {}
        self._last_owner = 0
        self._refresh_at = 0.0
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong, or None."""
        return self._problem

    def may_hold(self, tenant: str) -> bool:
        """Tell whether `find` is worth the question: for a tenant without any list it is not.

        Also true while the database cannot be read, which `find` then says.
        """
        monotonic = self._clock()
        if monotonic >= self._refresh_at:
            with contextlib.suppress(StoreUnavailable):
                self._guarded(lambda: self._refresh(monotonic))
        owners = self._owners
        return tenant in owners or GLOBAL in owners or self._problem is not None

    def find(
        self, tenant: str, recipient: str, now: float, rules: SuppressionRules
    ) -> Suppressed | None:
        """Return the strongest reason in force; see `SuppressionStore.find`.

        Raises:
            StoreUnavailable: If the database cannot be read.
        """
        if not self.may_hold(tenant):
            return None
        if self._problem is not None:
            raise StoreUnavailable(self._problem)
        try:
            address = canonical_address(recipient)
        except MalformedMessage:
            return None
        return self._guarded(lambda: self._find(tenant, address, recipient, now, rules))

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._owners = {}
        self._last_owner = 0

    def _find(
        self,
        tenant: str,
        address: CanonicalAddress,
        recipient: str,
        now: float,
        rules: SuppressionRules,
    ) -> Suppressed | None:
        assert self._connection is not None
        for each in (tenant, GLOBAL):
            owner = self._owners.get(each)
            if owner is None:
                continue
            key = key_of(address, each, self._secret)
            row = find_row(self._connection, owner, key, now, fold=rules.fold_sub_addresses)
            if row is not None:
                return entry_of(each, row, recipient)
        return None

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
        # Owners are never taken away, so only new ones have to be asked for.
        rows = self._connection.execute(
            "select id, tenant from suppression_owners where id > ? order by id",
            (self._last_owner,),
        ).fetchall()
        for owner, tenant in rows:
            self._owners[tenant] = self._last_owner = owner
        if self._owners and not self._secret:
            self._secret = self._read_secret()
        self._problem = None

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

    def _guarded(self, step: Callable[[], Suppressed | None]) -> Suppressed | None:
        """Do a step; after trouble, close the connection and remember what it was."""
        try:
            return step()
        except (sqlite3.Error, OSError, StoreUnavailable) as error:
            self.close()
            self._refresh_at = self._clock() + RETRY_S
            self._problem = f"{self._path}: {error}"
            raise StoreUnavailable(self._problem) from error
