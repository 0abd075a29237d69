"""The table of what came back; see `schema`."""

from __future__ import annotations

from sqlite_utils import Database


def received(db: Database) -> None:
    """Make the table of reports that were dealt with."""
    db.table("received_reports").create(
        {
            "number": int,
            "id": str,
            "at": float,
            "kind": str,
            "format": str,
            "reporter": str,
            "result": str,
            "reason": str,
            "tenant": str,
            "message": str,
            "events": str,
        },
        pk="number",
        not_null=(
            *("id", "at", "kind", "format", "reporter"),
            *("result", "reason", "tenant", "message", "events"),
        ),
    )
    db.table("received_reports").create_index(["id"], unique=True)
    db.table("received_reports").create_index(["reporter", "tenant", "at"])
    db.table("received_reports").create_index(["message"])
