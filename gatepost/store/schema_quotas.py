"""The tables of quotas' counters; see `schema`."""

from __future__ import annotations

from sqlite_utils import Database


def quotas(db: Database) -> None:
    """Make the tables."""
    db.table("quota_counters").create(
        {"name": str, "unit": str, "window": int, "counts": str, "until": float},
        pk=("name", "unit", "window"),
        not_null=("counts", "until"),
    )
    db.table("quota_counters").create_index(["until"])
    db.table("quota_clock").create(
        {"id": int, "boot": str, "since_boot": float, "at": float, "wall": float}, pk="id"
    )


def quota_refusals(db: Database) -> None:
    """Make the table of messages that others refused after they had been counted."""
    # With autoincrement, as who reads on must not meet a number again.
    db.execute(
        "create table quota_refusals (id integer primary key autoincrement, queue_id text not null,"
        " wall float not null)"
    )


def quota_fleet(db: Database) -> None:
    """Make the table of what a node knew of those that it shares its counters with."""
    db.table("quota_fleet").create({"id": int, "era": str, "nodes": int}, pk="id")
