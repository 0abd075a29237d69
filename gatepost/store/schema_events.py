"""The tables of events, their counts and the ids that outlive them."""

from __future__ import annotations

from sqlite_utils import Database

# Written out: positions must never be given out twice (autoincrement), and tables whose key is most
# of the row are half as large without a row id; sqlite-utils can ask for neither.
_EVENTS = """
create table events (
    position integer primary key autoincrement, id text not null, kind text not null,
    at real not null, tenant text not null, message text not null, queue_id text not null,
    sender text not null, recipient text not null, campaign text not null, mail_type text not null,
    provider text not null, reporter text not null, details text not null
)
"""
_COUNTS = """
create table event_counts (
    hour integer not null, tenant text not null, campaign text not null, mail_type text not null,
    provider text not null, kind text not null, bounce_class text not null, severity text not null,
    count integer not null,
    primary key (hour, tenant, campaign, mail_type, provider, kind, bounce_class, severity)
) without rowid
"""
_LABELS = """
create table event_labels (
    day integer not null, tenant text not null, label text not null, value text not null,
    primary key (day, tenant, label, value)
) without rowid
"""
_IDS = "create table event_ids (id text primary key, day integer not null) without rowid"


def events(db: Database) -> None:
    """Make the tables."""
    for table in (_EVENTS, _COUNTS, _LABELS, _IDS):
        db.execute(table)
    db.table("events").create_index(["id"], unique=True)
    db.table("events").create_index(["at"])
    # With the position, which ends every index, this is the stream of one tenant.
    db.table("events").create_index(["tenant"])
    db.table("event_ids").create_index(["day"])


def webhook_leases(db: Database) -> None:
    """Add who sends for a webhook, and until when."""
    db.table("webhooks").add_column("holder", str, not_null_default="")
    db.table("webhooks").add_column("held_until", float, not_null_default=0)


def webhooks(db: Database) -> None:
    """Make the tables of who is told of events, and of how far they have got."""
    columns: dict[str, type] = {
        **dict.fromkeys(("position", "batch_end", "tries", "gone"), int),
        **dict.fromkeys(("first_at", "next_at", "success_at", "error_at"), float),
    }
    db.table("webhooks").create(
        {"name": str, **columns, "error": str},
        pk="name",
        not_null=("name", *columns, "error"),
        defaults={**dict.fromkeys(columns, 0), "error": ""},
    )
    letter = {
        **dict.fromkeys(("id", "begin", "end", "events", "tries", "requeued"), int),
        **dict.fromkeys(("webhook", "error"), str),
        "at": float,
    }
    db.table("webhook_dead_letters").create(letter, pk="id", not_null=tuple(letter)[1:])
    db.table("webhook_dead_letters").create_index(["webhook"])
    db.table("event_readers").create({"name": str, "position": int}, pk="name")
