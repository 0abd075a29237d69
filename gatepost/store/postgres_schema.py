"""The schema in PostgreSQL, as the list of steps that made it, and who may work with which.

Purpose: nodes are upgraded one after the other. The first new one brings the database up to date
while older ones go on: a step that only adds what they need not know lets them, and one that
changes what they rely on stops them.
Format: ``gatepost_schema`` has a row for each step. ``needs`` is how many steps a program must know
to go on after it: for a step that only adds, as many as before it; for another, its own number.
Limits: steps are never changed once released; a change is a new step at the end. A step gets the
locks that it needs within `LOCK_S`, or is tried again with the next connection, so that no one
waits behind it for longer. An older program notices within `postgres_server.CHECK_S` that it may
not go on.
Errors: `StoreUnavailable`, and those of psycopg.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from gatepost import __version__
from gatepost.errors import StoreUnavailable
from gatepost.store import postgres_tables as tables

LOCK_S = 2
# Any number that nobody else takes: the letters "gatepost" as a number.
_LOCK = 0x6761_7465_706F_7374
_VERSIONS = """
create table if not exists gatepost_schema (
    version integer primary key, name text not null, needs integer not null,
    program text not null, applied_at double precision not null
)
"""
STATE = "select coalesce(max(version), 0), coalesce(max(needs), 0) from gatepost_schema"
_DONE = "insert into gatepost_schema values (%s, %s, %s, %s, %s)"


@dataclass(frozen=True, slots=True)
class Step:
    """One change.

    Attributes:
        name: What it is for.
        statements: What it does.
        older_go_on: Whether a program that does not know it may go on.
    """

    name: str
    statements: tuple[str, ...]
    older_go_on: bool = True


MIGRATIONS: tuple[Step, ...] = (
    Step("observations", tables.OBSERVATIONS, older_go_on=False),
    Step("events", tables.EVENTS, older_go_on=False),
    Step("webhooks", tables.WEBHOOKS, older_go_on=False),
    Step("suppression", tables.SUPPRESSION, older_go_on=False),
    Step("tenant-status", tables.TENANT_STATUS, older_go_on=False),
    Step("messages", tables.MESSAGES, older_go_on=False),
    Step("received", tables.RECEIVED, older_go_on=False),
    Step("api", tables.API, older_go_on=False),
)


def migrate(
    db: psycopg.Connection[tuple[Any, ...]],
    *,
    create: bool = True,
    steps: Sequence[Step] | None = None,
) -> None:
    """Bring a database up to date.

    Args:
        db: A connection outside of any transaction.
        create: Make the tables if there are none.
        steps: All steps that the program knows; its own unless a test says otherwise.

    Raises:
        StoreUnavailable: If it needs a newer program, or holds nothing and may not be made.
    """
    known = MIGRATIONS if steps is None else steps
    have = _have(db, len(known))
    if have == 0 and not create:
        raise StoreUnavailable("nothing was recorded yet: the database has no tables of Gatepost")
    if have >= len(known):
        return
    if have == 0 and db.info.parameter_status("server_encoding") != "UTF8":
        raise StoreUnavailable("the database is not encoded in UTF-8; make one with encoding UTF8")
    while have < len(known):
        have = _one_step(db, known)


def check_version(
    db: psycopg.Connection[tuple[Any, ...]], steps: Sequence[Step] | None = None
) -> None:
    """See whether the program may still go on; as `migrate`, whose errors it has."""
    _have(db, len(MIGRATIONS if steps is None else steps))


def check_needs(have: int, needs: int, known: int | None = None) -> None:
    """See whether a program may go on; as `check_version`, for one who has read `STATE` itself."""
    known = len(MIGRATIONS) if known is None else known
    if needs > known:
        raise StoreUnavailable(
            f"schema {have} is for programs that know at least {needs} steps, and this version "
            f"knows {known}; run the version that wrote it, or newer"
        )


def version_of(db: psycopg.Connection[tuple[Any, ...]]) -> tuple[int, int]:
    """Return how many steps a database has had, and how many a program must know."""
    found = db.execute("select to_regclass('gatepost_schema') is not null").fetchone()
    if found is None or not found[0]:
        return 0, 0
    row = db.execute(STATE).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def _have(db: psycopg.Connection[tuple[Any, ...]], known: int) -> int:
    have, needs = version_of(db)
    check_needs(have, needs, known)
    return have


def _one_step(db: psycopg.Connection[tuple[Any, ...]], known: Sequence[Step]) -> int:
    """Take the next step, unless another node just has; return how many there were then."""
    with db.transaction():
        # The data of years may have to be read; but nobody may wait for long behind this.
        db.execute(f"set local statement_timeout = 0; set local lock_timeout = '{LOCK_S}s'")
        db.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
        db.execute(_VERSIONS)
        have, needs = version_of(db)
        if have >= len(known):
            return have
        step = known[have]
        for statement in step.statements:
            db.execute(statement)
        number = have + 1
        db.execute(
            _DONE,
            [number, step.name, needs if step.older_go_on else number, __version__, time.time()],
        )
        return number
