"""Events in PostgreSQL; see `events` for what may be asked, `postgres_server` for the rest.

Purpose: several nodes add to one stream, and who reads it goes by positions.
Format: positions have no gaps. ``event_stream`` holds the last one; whoever adds events holds that
row until they are committed. So a position is visible only when all before it are: numbers from a
sequence would not be, since a transaction may commit after another one that drew a higher number.
Limits: one transaction adds at a time, for as long as some 8 round trips to the server take; a
batch of 500 takes 15 ms there.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

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
from gatepost.store.postgres_server import Connection, PostgresServer, changed

PRUNE_ROWS = 5_000

_TAKE_TURN = "select position from event_stream for update"
_END = "select position from event_stream"
_COPY = f"copy events (position, {COLUMNS}) from stdin"
_KEEP_IDS = """
insert into event_ids (id, day) select * from unnest(%s::text[], %s::integer[])
on conflict do nothing returning id
"""
_KEY = "hour, tenant, campaign, mail_type, provider, kind, bounce_class, severity"
_COUNT = f"""
insert into event_counts as was ({_KEY}, count)
select * from unnest(%s::integer[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
    %s::text[], %s::text[], %s::bigint[])
on conflict ({_KEY}) do update set count = was.count + excluded.count
"""
_NAMED = """
select day, tenant, label, value from event_labels where (day, tenant, label, value) in (
    select * from unnest(%s::integer[], %s::text[], %s::text[], %s::text[])
)
"""
_HOW_MANY = """
select day, tenant, label, count(*) from event_labels where (day, tenant, label) in (
    select * from unnest(%s::integer[], %s::text[], %s::text[])
) group by day, tenant, label
"""
_NAME = """
insert into event_labels (day, tenant, label, value)
select * from unnest(%s::integer[], %s::text[], %s::text[], %s::text[]) on conflict do nothing
"""
_COUNTS = """
select hour, tenant, campaign, mail_type, provider, kind, bounce_class, count, severity
from event_counts
where hour >= %(first)s and hour < %(end)s and (%(tenant)s::text is null or tenant = %(tenant)s)
order by hour
"""
# Two nodes that tidy at the same time leave each other's rows alone.
_FORGET = f"""
delete from events where position in (
    select position from events where at < %s order by at limit {PRUNE_ROWS} for update skip locked
)
"""
_FORGET_IDS = f"""
delete from event_ids where id in (
    select id from event_ids where day < %s limit {PRUNE_ROWS} for update skip locked
)
"""

LabelKey = tuple[int, str, str, str]


class PostgresEvents(PostgresServer):
    """Implements `gatepost.store.events.EventStore`."""

    def add(self, events: Sequence[Event]) -> list[str]:
        """See `EventStore.add`."""
        with self._writing() as db:
            return put_events(db, events)

    def find(self, event_id: str) -> Event | None:
        """See `EventStore.find`."""
        query = f"select position, {COLUMNS} from events where id = %s"
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
        with self._database() as db:
            # The end comes first: what is added afterwards lies behind it.
            last = _end(db) if until is None else min(until, _end(db))
            first = _one(db.execute("select min(position) from events"))
            if first is None or position >= last:
                return Page((), max(position, last))
            begin = max(position, first - 1)
            # The events of one tenant are found by an index; nothing is passed over.
            upto = last if tenant is not None else min(last, begin + max(SCAN_ROWS, limit))
            where, values = _where(begin, upto, tenant, kinds)
            query = f"select position, {COLUMNS} from events where {where} order by position"
            rows = db.execute(f"{query} limit %s", [*values, limit]).fetchall()
        found = tuple(map(stored_of, rows))
        return Page(found, found[-1].position if len(found) == limit else max(upto, position))

    def end(self) -> int:
        """See `EventStore.end`."""
        with self._database() as db:
            return _end(db)

    def position_at(self, since: float) -> int:
        """See `EventStore.position_at`."""
        with self._database() as db:
            end = _end(db)
            first = _one(db.execute("select min(position) from events where at >= %s", [since]))
            return end if first is None else int(first) - 1

    def last(
        self, limit: int, tenant: str | None = None, kinds: Collection[EventKind] | None = None
    ) -> int:
        """See `EventStore.last`."""
        with self._database() as db:
            where, values = _where(0, _end(db), tenant, kinds)
            # The one before the last that are wanted, which is not itself among them.
            query = f"select position from events where {where} order by position desc limit 1"
            found = db.execute(f"{query} offset %s", [*values, max(limit, 0)]).fetchone()
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
            return int(_one(db.execute(f"select count(*) from events where {where}", values)))

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
        before = self._by_server(before)
        deleted = 0
        while step := self._delete(_FORGET, before):
            deleted += step
        while self._delete(_FORGET_IDS, (before - KEEP_IDS_S) // SECONDS_A_DAY):
            pass
        self._delete(
            "delete from event_counts where hour < %s", (before - KEEP_COUNTS_S) // SECONDS_AN_HOUR
        )
        # A day is over for good when events of it can no longer come: with the lasting ids.
        self._delete(
            "delete from event_labels where day < %s", (before - KEEP_IDS_S) // SECONDS_A_DAY
        )
        return deleted

    def _delete(self, statement: str, before: float) -> int:
        with self._writing() as db:
            return changed(db.execute(statement, [before]))


def put_events(db: Connection, events: Sequence[Event]) -> list[str]:
    """Store and count events within a transaction that does more: what happened, and its event.

    Args:
        db: Within a transaction.
        events: As of `EventStore.add`, which also says what is returned.
    """
    if not events:
        return []
    # Made first: nobody waits while Python works.
    rows = {event.id: row_of(event) for event in reversed(events)}
    end = int(_one(db.execute(_TAKE_TURN)))
    new = _new(db, {event.id: event for event in reversed(events)}, [e.id for e in events])
    if new:
        with db.cursor() as cursor, cursor.copy(_COPY) as copy:
            for position, event in enumerate(new, end + 1):
                copy.write_row((position, *rows[event.id]))
        _count(db, new)
        db.execute("update event_stream set position = %s", [end + len(new)])
    return [event.id for event in new]


def _new(db: Connection, by_id: dict[str, Event], order: list[str]) -> list[Event]:
    """Return the events that are not there yet, each once; nobody else adds any meanwhile."""
    known = {row[0] for row in db.execute("select id from events where id = any(%s)", [order])}
    lasting = [event for event in by_id.values() if event.kind in LASTING]
    if lasting:
        ids, days = [e.id for e in lasting], [int(e.at // SECONDS_A_DAY) for e in lasting]
        kept = {row[0] for row in db.execute(_KEEP_IDS, [ids, days])}
        known.update(each for each in ids if each not in kept)
    return [by_id[each] for each in dict.fromkeys(order) if each not in known]


def _count(db: Connection, events: Sequence[Event]) -> None:
    named = _named(db, events)

    def counted(label: str, event: Event) -> str:
        value = text_of(getattr(event, label))
        return value if not value or _label_key(label, value, event) in named else OTHER

    sums = Counter(count_key(event, counted) for event in events)
    columns: list[Sequence[Any]] = [list(column) for column in zip(*sums, strict=True)]
    db.execute(_COUNT, [*columns, list(sums.values())])


def _named(db: Connection, events: Iterable[Event]) -> set[LabelKey]:
    """Return the labels that are counted by name; new ones are, while there are few."""
    asked = dict.fromkeys(
        _label_key(label, value, event)
        for event in events
        for label in MAX_OF
        if (value := text_of(getattr(event, label)))
    )
    if not asked:
        return set()
    columns = [list(column) for column in zip(*asked, strict=True)]
    named: set[LabelKey] = {tuple(row) for row in db.execute(_NAMED, columns)}
    new = [key for key in asked if key not in named]
    if not new:
        return named
    spans = [list(column) for column in zip(*{key[:3] for key in new}, strict=True)]
    many: defaultdict[tuple[int, str, str], int] = defaultdict(int)
    many |= {(day, tenant, label): n for day, tenant, label, n in db.execute(_HOW_MANY, spans)}
    fresh = []
    for key in new:
        if many[key[:3]] < MAX_OF[key[2]]:
            many[key[:3]] += 1
            fresh.append(key)
    if fresh:
        db.execute(_NAME, [list(column) for column in zip(*fresh, strict=True)])
    return named.union(fresh)


def _label_key(label: str, value: str, event: Event) -> LabelKey:
    return (int(event.at // SECONDS_A_DAY), text_of(event.tenant), label, value)


def _end(db: Connection) -> int:
    return int(_one(db.execute(_END)))


def _one(cursor: Any) -> Any:
    row = cursor.fetchone()
    assert row is not None
    return row[0]


def _where(
    begin: int, end: int, tenant: str | None, kinds: Collection[EventKind] | None
) -> tuple[str, list[Any]]:
    values: list[Any] = [begin, end]
    where = "position > %s and position <= %s"
    if tenant is not None:
        where += " and tenant = %s"
        values.append(tenant)
    if kinds is not None:
        where += " and kind = any(%s)"
        values.append(sorted(kind.value for kind in kinds))
    return where, values
