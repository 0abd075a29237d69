"""The table of the message book; see `schema`."""

from __future__ import annotations

from sqlite_utils import Database


def messages(db: Database) -> None:
    """Make the table of messages.

    Rows stand in the order in which they came, with a unique index on the message id, which is a
    hash: whole rows in the order of the id would be written all over the file, at twice the CPU
    time for a million rows (40 s against 20 s).
    """
    db.table("messages").create(
        {
            "number": int,
            "id": bytes,
            "at": float,
            "tenant": str,
            "queue_id": str,
            "sender": str,
            "message_id": str,
            "campaign": str,
            "mail_type": str,
            "recipients": str,
        },
        pk="number",
        not_null=(
            *("id", "at", "tenant", "queue_id", "sender"),
            *("message_id", "campaign", "mail_type", "recipients"),
        ),
    )
    db.table("messages").create_index(["id"], unique=True)
