"""Many rows in one statement.

Purpose: sqlite3 gives the interpreter away and takes it back for each statement, which is each row
where they go in one by one; in a process that handles mail on other threads that costs more than
the row.
Limits: 50 rows a statement.
Errors: those of sqlite3.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from sqlite_utils import Database

AT_ONCE = 50


def insert_many(
    db: Database, insert: str, rows: Sequence[Sequence[Any]], end: str = ""
) -> list[Any]:
    """Insert rows, and return what the statement returns.

    Args:
        db: Within a transaction that holds the write lock.
        insert: The statement up to its values.
        rows: Values, all of one length.
        end: The statement after its values.
    """
    found: list[Any] = []
    for first in range(0, len(rows), AT_ONCE):
        some = rows[first : first + AT_ONCE]
        row = f"({', '.join('?' * len(some[0]))})"
        statement = f"{insert} values {', '.join([row] * len(some))}{end}"
        found += db.conn.execute(statement, list(chain.from_iterable(some))).fetchall()
    return found
