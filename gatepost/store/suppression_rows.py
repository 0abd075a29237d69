"""The rows of the suppression list, and the one question that mail asks of them.

Purpose: the check at RCPT TO and everybody else find an address by the same statement.
Limits: a look-up is one descent in one tree, of four pages or five for ten million addresses. They
come from the kernel's cache of the file: SQLite's own has 2 MiB, and the file is not mapped into
memory, so that a process does not grow with the list.
Errors: those of sqlite3.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from gatepost.feedback.suppression import STRONGEST_FIRST, AddressKey, Reason, Suppressed

CODES: Mapping[Reason, int] = {reason: code for code, reason in enumerate(STRONGEST_FIRST, 1)}
REASONS: Mapping[int, Reason] = {code: reason for reason, code in CODES.items()}

COLUMNS = "reason, at, expires, address, source, note"
# With sub-addresses, and without.
WHOLE = "sub = :sub"
MAILBOX = "true"
ADDRESS = "owner = :owner and key = :key and {which}"
# With numbers, which are bound faster than names; 3 is the sub-address.
_FIND = f"""
select {COLUMNS} from suppression
where owner = ?1 and key = ?2 and {{which}} and (expires is null or expires > ?4)
order by reason limit 1
"""
_FIND_WHOLE = _FIND.format(which="sub = ?3")
_FIND_MAILBOX = _FIND.format(which=MAILBOX)


def find_row(
    connection: sqlite3.Connection, owner: int, key: AddressKey, now: float, *, fold: bool
) -> tuple[Any, ...] | None:
    """Return the columns of the strongest row in force.

    Args:
        connection: The database.
        owner: Whose list.
        key: The address.
        now: Unix time in seconds.
        fold: Whether sub-addresses are left out of account.
    """
    found: tuple[Any, ...] | None = connection.execute(
        _FIND_MAILBOX if fold else _FIND_WHOLE,
        (owner, key.base, key.sub, now),
    ).fetchone()
    return found


def entry_of(tenant: str, row: Sequence[Any], address: str) -> Suppressed:
    """Return a row as an entry.

    Args:
        tenant: Whose.
        row: Its `COLUMNS`.
        address: The address if the row has none.
    """
    code, at, expires, stored, source, note = row
    return Suppressed(
        tenant,
        stored or address,
        REASONS[code],
        float(at),
        None if expires is None else float(expires),
        source or "",
        note or "",
    )
