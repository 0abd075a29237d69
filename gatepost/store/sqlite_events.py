"""Events in SQLite; see `events` for what may be asked, `sqlite_file` for the rest.

Limits: `prune` deletes 500 rows a transaction, some 30 ms in a large file, and lets others in
between.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlite_utils import Database

from gatepost.feedback.events import Event, EventKind
from gatepost.store.event_rows import (
    COLUMNS,
    MAX_OF,
    count_key,
    count_of,
    row_of,
    stored_of,
    text_of,
)
from gatepost.store.events import (
    KEEP_COUNTS_S,
    KEEP_IDS_S,
    LASTING,
    OTHER,
    SCAN_ROWS,
    SECONDS_A_DAY,
    SECONDS_AN_HOUR,
    EventCount,
    Page,
    StoredEvent,
)
from gatepost.store.sqlite_file import SqliteFile
from gatepost.store.sqlite_rows import insert_many

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


class SqliteEvents(SqliteFile):
    """Implements `EventStore`."""

    def add(self, events: Sequence[Event]) -> list[str]:
        """See `EventStore.add`."""
        with self._writing() as db:
            return put_events(db, events)

    def find(self, event_id: str) -> Event | None:
        """See `EventStore.find`."""
        query = f"select position, {COLUMNS} from events where id = ?"
        with self._database() as db:
            row = db.execute(query, [event_id]).fetchone()
        return None if row is None else stored_of(row).event

    def after(
        self,
        position: int,
        limit: int,
        tenant: str | None = None,
        kinds: Collection[EventKind] | None = None,
    ) -> list[StoredEvent]:
        """See `EventStore.after`."""
        end = self.end()
        found: list[StoredEvent] = []
        while len(found) < limit and position < end:
            page = self.page(position, limit - len(found), tenant, kinds, end)
            found += page.events
            position = page.position
        return found

    def page(
        self,
        position: int,
        limit: int,
        tenant: str | None = None,
        kinds: Collection[EventKind] | None = None,
        until: int | None = None,
    ) -> Page:
        """See `EventStore.page`."""
        with self._database() as db, db.atomic():
            last = _end(db) if until is None else min(until, _end(db))
            first = db.execute("select min(position) from events").fetchone()[0]
            if first is None or position >= last:
                return Page((), max(position, last))
            begin = max(position, first - 1)
            # The events of one tenant are found by an index; nothing is passed over.
            upto = last if tenant is not None else min(last, begin + max(SCAN_ROWS, limit))
            where, values = _where(begin, upto, tenant, kinds)
            query = f"select position, {COLUMNS} from events where {where} order by position"
            rows = db.execute(f"{query} limit ?", [*values, limit]).fetchall()
        found = tuple(map(stored_of, rows))
        return Page(found, found[-1].position if len(found) == limit else max(upto, position))

    def end(self) -> int:
        """See `EventStore.end`."""
        with self._database() as db:
            return _end(db)

    def position_at(self, since: float) -> int:
        """See `EventStore.position_at`."""
        with self._database() as db, db.atomic():
            query = "select min(position) from events where at >= ?"
            first = db.execute(query, [since]).fetchone()[0]
            return _end(db) if first is None else int(first) - 1

    def last(
        self, limit: int, tenant: str | None = None, kinds: Collection[EventKind] | None = None
    ) -> int:
        """See `EventStore.last`."""
        with self._database() as db, db.atomic():
            end = _end(db)
            where, values = _where(0, end, tenant, kinds)
            # The one before the last that are wanted, which is not itself among them.
            query = f"select position from events where {where} order by position desc limit 1"
            found = db.execute(f"{query} offset ?", [*values, max(limit, 0)]).fetchone()
        return 0 if found is None else int(found[0])

    def count(
        self,
        begin: int,
        end: int,
        tenant: str | None = None,
        kinds: Collection[EventKind] | None = None,
    ) -> int:
        """See `EventStore.count`."""
        where, values = _where(begin, end, tenant, kinds)
        with self._database() as db:
            return int(
                db.execute(f"select count(*) from events where {where}", values).fetchone()[0]
            )

    def counts(self, since: float, until: float, tenant: str | None = None) -> list[EventCount]:
        """See `EventStore.counts`."""
        values = {
            "first": math.floor(since / SECONDS_AN_HOUR),
            "end": math.ceil(until / SECONDS_AN_HOUR),
            "tenant": tenant,
        }
        with self._database() as db:
            rows = db.execute(_COUNTS, values).fetchall()
        return [count_of(row) for row in rows]

    def prune(self, before: float) -> int:
        """See `EventStore.prune`."""
        deleted = 0
        while step := self._delete(_FORGET, before):
            deleted += step
        while self._delete(_FORGET_IDS, (before - KEEP_IDS_S) // SECONDS_A_DAY):
            pass
        self._delete(
            "delete from event_counts where hour < ?", (before - KEEP_COUNTS_S) // SECONDS_AN_HOUR
        )
        # A day is over for good when events of it can no longer come: with the lasting ids.
        self._delete(
            "delete from event_labels where day < ?", (before - KEEP_IDS_S) // SECONDS_A_DAY
        )
        return deleted

    def _delete(self, statement: str, before: float) -> int:
        with self._writing() as db:
            return db.execute(statement, [before]).rowcount


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
        self._named: dict[tuple[int, str, str, str], bool] = {}

    def counted(self, label: str, event: Event) -> str:
        """Return the name to count an event's label under."""
        value = text_of(getattr(event, label))
        if not value:
            return ""
        key = (int(event.at // SECONDS_A_DAY), text_of(event.tenant), label, value)
        named = self._named.get(key)
        if named is None:
            named = self._named[key] = self._is_named(key)
        return value if named else OTHER

    def _is_named(self, key: tuple[int, str, str, str]) -> bool:
        if self._db.execute(_IS_LABEL, key).fetchone() is not None:
            return True
        if self._db.execute(_LABELS, key[:3]).fetchone()[0] >= MAX_OF[key[2]]:
            return False
        self._db.execute(_LABEL, key)
        return True


def _end(db: Database) -> int:
    found = db.execute("select seq from sqlite_sequence where name = 'events'").fetchone()
    return 0 if found is None else int(found[0])


def _where(
    begin: int, end: int, tenant: str | None, kinds: Collection[EventKind] | None
) -> tuple[str, list[int | str]]:
    values: list[int | str] = [begin, end]
    where = "position > ? and position <= ?"
    if tenant is not None:
        where += " and tenant = ?"
        values.append(tenant)
    if kinds is not None:
        where += f" and kind in ({', '.join('?' * len(kinds))})"
        values += sorted(kind.value for kind in kinds)
    return where, values
