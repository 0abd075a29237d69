"""The tables of what is known of lanes: slowed pairs, and what was sent on which day."""

from __future__ import annotations

from sqlite_utils import Database


def lanes(db: Database) -> None:
    """Make the tables."""
    db.table("slowed_pairs").create(
        {
            "lane": str,
            "provider": str,
            # Of the operator, who is empty for what rules did.
            "by": str,
            "since": float,
            "rates": str,
            "first_s": float,
            "every_s": float,
            "why": str,
            "rule": str,
            "base": float,
            "strikes": int,
            "whose": str,
        },
        pk=("lane", "provider", "whose"),
        not_null=("by", "since", "rates", "first_s", "every_s", "why", "rule", "base", "strikes"),
    )
    db.table("slowed_pairs_version").create({"id": int, "version": int}, pk="id")
    db.table("slowed_pairs_version").insert({"id": 1, "version": 0})
    db.table("warmup_days").create(
        {"key": str, "day": int, "sent": int}, pk=("key", "day"), not_null=("sent",)
    )
