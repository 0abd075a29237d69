"""The tables of deliveries, their counts, and the log's position."""

from __future__ import annotations

from sqlite_utils import Database

DAYS_KEY = ("day", "tenant", "domain", "provider", "tls", "version", "verdict")
RELAYS_KEY = ("day", "domain", "relay", "tls", "version")

_TEXTS = (
    *("queue_id", "tenant", "recipient", "domain", "relay", "address", "provider", "service"),
    *("tls", "version", "verdict", "asked", "got"),
)
_SUMS = {"deliveries": int, "sessions": int, "first_at": float, "last_at": float}


def deliveries(db: Database) -> None:
    """Make the tables."""
    texts = dict.fromkeys(_TEXTS, str)
    db.table("deliveries").create(
        {"id": int, "at": float, **texts, "deliveries": int, "sessions": int},
        pk="id",
        not_null=("at", *texts, "deliveries", "sessions"),
    )
    for name, key in (("delivery_days", DAYS_KEY), ("delivery_relays", RELAYS_KEY)):
        columns = {column: int if column == "day" else str for column in key}
        db.table(name).create({**columns, **_SUMS}, pk=key, not_null=tuple(_SUMS))
    db.table("weaker_deliveries").create(
        {
            "id": int,
            "at": float,
            **dict.fromkeys(("tenant", "queue_id", "recipient", "domain", "relay"), str),
            **dict.fromkeys(("service", "asked", "got"), str),
        },
        pk="id",
    )
    db.table("weaker_deliveries").create_index(["at"])
    db.table("log_positions").create(
        {"source": str, "head_octets": int, "offset": int, "cursor": str, "stored": int},
        pk="source",
    )
    db.table("log_state").create({"scope": str, "key": str, "text": str}, pk=("scope", "key"))
