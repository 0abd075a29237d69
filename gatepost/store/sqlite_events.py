"""Events in SQLite; see `events` for what may be asked, `sqlite_file` for the rest.

Limits: `prune` deletes 500 rows a transaction, some 30 ms in a large file, and lets others in
between.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from sqlite_utils import Database

from gatepost.feedback.events import Event, EventKind
from gatepost.store.event_queries import EventQueries
from gatepost.store.event_rows import (
    COLUMNS,
    MAX_OF,
    LabelKey,
    count_key,
    label_key,
    row_of,
    text_of,
)
from gatepost.store.events import LASTING, OTHER, SCAN_ROWS, SECONDS_A_DAY
from gatepost.store.sqlite_file import SqliteFile
from gatepost.store.sqlite_rows import insert_many

__all__ = ["PRUNE_ROWS", "SCAN_ROWS", "SqliteEvents", "put_events"]

PRUNE_ROWS = 500

_INSERT = f"insert or ignore into events ({COLUMNS})"
_KEEP_ID = "insert or ignore into event_ids (id, day)"
_KEY = "hour, tenant, campaign, mail_type, provider, kind, bounce_class, severity"
_COUNT = f"insert into event_counts ({_KEY}, count)"
_ADDING = f"""
on conflict ({_KEY}) do update set count = count + excluded.count
"""
_LABEL = "insert into event_labels (day, tenant, label, value) values (?, ?, ?, ?)"
_LABELS = "select count(*) from event_labels where day = ? and tenant = ? and label = ?"
_IS_LABEL = "select 1 from event_labels where day = ? and tenant = ? and label = ? and value = ?"
_COUNTS = """
select hour, tenant, campaign, mail_type, provider, kind, bounce_class, count, severity
from event_counts
where hour >= :first and hour < :end and (:tenant is null or tenant = :tenant) order by hour
"""
_FORGET = f"""
delete from events where position in (
    select position from events where at < ? order by at limit {PRUNE_ROWS}
)
"""
_FORGET_IDS = f"""
delete from event_ids where id in (select id from event_ids where day < ? limit {PRUNE_ROWS})
"""


class SqliteEvents(SqliteFile, EventQueries):
    """Implements `EventStore`."""

    END = "select seq from sqlite_sequence where name = 'events'"
    COUNTS = _COUNTS
    FORGET = _FORGET
    FORGET_IDS = _FORGET_IDS

    def add(self, events: Sequence[Event]) -> list[str]:
        """See `EventStore.add`."""
        with self._writing() as db:
            return put_events(db, events)

    def _of_kinds(self, kinds: Collection[EventKind]) -> tuple[str, list[Any]]:
        return f"kind in ({', '.join('?' * len(kinds))})", sorted(kind.value for kind in kinds)

    def _looking(self) -> AbstractContextManager[Database]:
        return self._reading()


def put_events(db: Database, events: Sequence[Event]) -> list[str]:
    """Store and count events within a transaction that does more: what happened, and its event.

    Args:
        db: Within a transaction that holds the write lock.
        events: As of `EventStore.add`, which also says what is returned.
    """
    new = _insert(db, _unknown(db, events))
    _count(db, new)
    return [event.id for event in new]


def _unknown(db: Database, events: Iterable[Event]) -> dict[str, Event]:
    """Return those whose ids have not outlived their events, by id, each once."""
    found: dict[str, Event] = {}
    for event in events:
        found.setdefault(event.id, event)
    lasting = [event for event in found.values() if event.kind in LASTING]
    rows = [(event.id, int(event.at // SECONDS_A_DAY)) for event in lasting]
    kept = {key for (key,) in insert_many(db, _KEEP_ID, rows, " returning id")}
    known = {event.id for event in lasting} - kept
    return {key: event for key, event in found.items() if key not in known}


def _insert(db: Database, events: Mapping[str, Event]) -> list[Event]:
    rows = [row_of(event) for event in events.values()]
    new = {key for (key,) in insert_many(db, _INSERT, rows, " returning id")}
    return [event for key, event in events.items() if key in new]


def _count(db: Database, events: Iterable[Event]) -> None:
    labels = _Labels(db)
    sums = Counter(count_key(event, labels.counted) for event in events)
    insert_many(db, _COUNT, [(*key, count) for key, count in sums.items()], _ADDING)


class _Labels:
    """Under which names a transaction may count: those of the day, and new ones while few."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._named: dict[LabelKey, bool] = {}

    def counted(self, label: str, event: Event) -> str:
        """Return the name to count an event's label under."""
        value = text_of(getattr(event, label))
        if not value:
            return ""
        key = label_key(label, value, event)
        named = self._named.get(key)
        if named is None:
            named = self._named[key] = self._is_named(key)
        return value if named else OTHER

    def _is_named(self, key: LabelKey) -> bool:
        if self._db.execute(_IS_LABEL, key).fetchone() is not None:
            return True
        if self._db.execute(_LABELS, key[:3]).fetchone()[0] >= MAX_OF[key[2]]:
            return False
        self._db.execute(_LABEL, key)
        return True
