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

import hashlib
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gatepost.errors import MalformedMessage
from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.suppression import (
    GLOBAL,
    MAX_NOTE,
    MAX_SOURCE,
    STRONGEST_FIRST,
    AddressKey,
    Reason,
    Suppressed,
    canonical_address,
    key_of,
)
from gatepost.store.text import storable

CODES: Mapping[Reason, int] = {reason: code for code, reason in enumerate(STRONGEST_FIRST, 1)}
REASONS: Mapping[int, Reason] = {code: reason for reason, code in CODES.items()}

# The first that a delivery lifts, as do all behind it.
FIRST_LIFTED = min(CODES[reason] for reason in Reason if reason.lifted_by_delivery)
_EVENT_OCTETS = 8
_PLACE = re.compile(r"([0-9]{1,18})\.((?:[0-9a-f]{2})*)\.((?:[0-9a-f]{2})*)\.([0-9])")

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


def rows_of(
    entries: Iterable[Suppressed], rules: SuppressionRules, secret: bytes
) -> list[tuple[str, tuple[Any, ...]]]:
    """Return entries as rows without their owners, and whose they are.

    Args:
        entries: The entries; what cannot be on a list is left out.
        rules: Whether addresses are stored as hashes only.
        secret: What addresses are hashed with.
    """
    rows = []
    for entry in entries:
        if entry.tenant == GLOBAL and entry.reason is not Reason.INVALID:
            continue
        try:
            address = canonical_address(entry.address)
        except MalformedMessage:
            continue
        key = key_of(address, entry.tenant, secret)
        row = (
            key.base,
            key.sub,
            CODES[entry.reason],
            int(entry.at),
            None if entry.expires is None else int(entry.expires),
            None if rules.hashed else storable(str(address)),
            storable(entry.source[:MAX_SOURCE]) or None,
            storable(entry.note[:MAX_NOTE]) or None,
        )
        rows.append((entry.tenant, row))
    return rows


def short(event: str) -> bytes:
    """Return an event's id as the table of soft bounces has it."""
    return hashlib.blake2b(event.encode(), digest_size=_EVENT_OCTETS).digest()


def sub_where(rules: SuppressionRules) -> str:
    """Return the condition on sub-addresses, for `ADDRESS`."""
    return MAILBOX if rules.fold_sub_addresses else WHOLE


def cursor_of(after: str, owner: int | None) -> dict[str, Any]:
    """Return the place that a page ended at.

    Args:
        after: The place; it comes from whoever asks for the page, and may name any list.
        owner: Whose list is asked for, or None for all lists.

    Raises:
        MalformedMessage: If no page of that list ended there.
    """
    if not after:
        return {"owner": owner or 0, "key": b"", "sub": b"", "code": 0}
    found = _PLACE.fullmatch(after)
    if found is None or (owner is not None and int(found[1]) != owner):
        raise MalformedMessage(f"{after[:60]!a} is no place in a list", rule="suppression")
    first, key, sub, code = found.groups()
    return {
        "owner": int(first),
        "key": bytes.fromhex(key),
        "sub": bytes.fromhex(sub),
        "code": int(code),
    }


def place_of(row: Sequence[Any]) -> str:
    """Return the place of a row that begins with owner, key, sub-address and reason."""
    return f"{row[0]}.{row[1].hex()}.{row[2].hex()}.{row[3]}"
