"""What rates need beside the counts of events; see `schema`."""

from __future__ import annotations

from sqlite_utils import Database


def rates(db: Database) -> None:
    """Make an index for the counts of one tenant, and the table of Gmail's daily shares."""
    db.table("event_counts").create_index(["tenant", "hour"])
    db.table("gmail_days").create(
        {"day": int, "domain": str, "label": str, "share": float},
        pk=("day", "domain", "label"),
        not_null=("share",),
    )
