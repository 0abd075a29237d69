"""MTA-STS policies that were fetched, so that a restart forgets none.

Purpose: a policy that holds must be applied even while its host cannot be reached (RFC 8461 §3.3);
a cache that a restart empties would let whoever blocks the fetch choose the moment.
Format: the policy stands as its text, which is parsed again when it is read.
Errors: as of `sqlite_file`. A row that cannot be read is left out: a policy is fetched anew sooner
than guessed.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from gatepost.errors import MalformedMessage
from gatepost.store.sqlite_file import SqliteFile, storable
from gatepost.tls.mtasts.entry import Failure, StsEntry
from gatepost.tls.mtasts.policy import format_policy_text, parse_policy

_COLUMNS = "domain, policy, policy_id, fetched_at, failed_at, failed_id, failure, reason, failures"
_SAVE = f"insert or replace into mta_sts ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?)"


class StsStore(Protocol):
    """Keeps what is known of policy domains."""

    def load(self) -> list[StsEntry]:
        """Return every entry."""

    def save(self, entries: Iterable[StsEntry]) -> None:
        """Store entries, each in the place of the one of its domain: all of them or none."""

    def forget(self, domains: Iterable[str]) -> None:
        """Remove the entries of domains."""

    def close(self) -> None:
        """Close the connection of the calling thread."""


class SqliteSts(SqliteFile):
    """Implements `StsStore`."""

    def load(self) -> list[StsEntry]:
        """See `StsStore.load`."""
        with self._database() as db:
            rows = db.execute(f"select {_COLUMNS} from mta_sts").fetchall()
        return [entry for row in rows if (entry := _entry_of(row)) is not None]

    def save(self, entries: Iterable[StsEntry]) -> None:
        """See `StsStore.save`."""
        rows = [_row_of(entry) for entry in entries]
        with self._writing() as db:
            db.conn.executemany(_SAVE, rows)

    def forget(self, domains: Iterable[str]) -> None:
        """See `StsStore.forget`."""
        with self._writing() as db:
            db.conn.executemany(
                "delete from mta_sts where domain = ?", [(domain,) for domain in domains]
            )


def _row_of(entry: StsEntry) -> tuple[Any, ...]:
    return (
        entry.domain,
        "" if entry.policy is None else format_policy_text(entry.policy),
        entry.policy_id,
        entry.fetched_at,
        entry.failed_at,
        entry.failed_id,
        entry.failure.value if entry.failure else "",
        storable(entry.reason),
        entry.failures,
    )


def _entry_of(row: Sequence[Any]) -> StsEntry | None:
    domain, text, policy_id, fetched_at, failed_at, failed_id, failure, reason, failures = row
    try:
        policy = parse_policy(text.encode()) if text else None
        kind = Failure(failure) if failure else None
    except (MalformedMessage, ValueError):
        return None
    return StsEntry(
        domain, policy, policy_id, fetched_at, failed_at, failed_id, kind, reason, failures
    )
