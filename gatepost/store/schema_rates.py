"""What rates need beside the counts of events; see `schema`."""

from __future__ import annotations

from sqlite_utils import Database


def rates(db: Database) -> None:
    """Make what finds the counts of one tenant and changes of status, and Gmail's daily shares."""
    db.table("event_counts").create_index(["tenant", "hour"])
    # Changes of status are few among millions of events.
    db.execute(
        "create index idx_events_status on events (position) where kind = 'tenant.status_changed'"
    )
    db.table("gmail_days").create(
        {"day": int, "domain": str, "label": str, "share": float},
        pk=("day", "domain", "label"),
        not_null=("share",),
    )
