"""The tables of the suppression list; a step of `gatepost.store.schema`."""

from __future__ import annotations

from sqlite_utils import Database

# Rows lie in their primary key, so that a look-up is one descent and a row is stored once. An owner
# is a number, for the room; one is never given to another tenant, as others may remember it.
_TABLES = (
    """
create table suppression_owners (
    id integer primary key autoincrement,
    tenant text not null unique
)
""",
    """
create table suppression (
    owner integer not null,
    key blob not null,
    sub blob not null,
    reason integer not null,
    at integer not null,
    expires integer,
    address text,
    source text,
    note text,
    primary key (owner, key, sub, reason)
) without rowid
""",
    "create index suppression_ends on suppression (expires) where expires is not null",
    """
create table suppression_soft (
    owner integer not null,
    key blob not null,
    sub blob not null,
    event blob not null,
    at integer not null,
    primary key (owner, key, sub, event)
) without rowid
""",
    "create index suppression_soft_at on suppression_soft (at)",
    # Tells whether the key file is the one that the rows were made with.
    """
create table suppression_key (
    id integer primary key check (id = 1),
    fingerprint blob not null
)
""",
)


def suppression(db: Database) -> None:
    """Make the tables."""
    for statement in _TABLES:
        db.execute(statement)
