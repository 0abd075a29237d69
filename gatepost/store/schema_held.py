"""The table of messages that Gatepost has put on hold; see `schema`."""

from __future__ import annotations

from sqlite_utils import Database


def held(db: Database) -> None:
    """Make the table."""
    db.table("held").create(
        {
            "instance": str,
            "queue_id": str,
            "arrival": int,
            "tenant": str,
            # What it is held for: a pause, of this part of the tenant's mail, or the operator's
            # hold.
            "cause": str,
            "campaign": str,
            "domain": str,
            "at": float,
        },
        pk=("instance", "queue_id"),
        not_null=("arrival", "tenant", "cause", "campaign", "domain", "at"),
    )
    db.table("held").create_index(["tenant"])
