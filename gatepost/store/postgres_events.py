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

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any

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
from gatepost.store.events import LASTING, OTHER, SECONDS_A_DAY
from gatepost.store.postgres_server import Connection, PostgresServer

PRUNE_ROWS = 5_000

_TAKE_TURN = "select position from event_stream for update"
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


class PostgresEvents(PostgresServer, EventQueries):
    """Implements `gatepost.store.events.EventStore`."""

    END = "select position from event_stream"
    COUNTS = _COUNTS
    FORGET = _FORGET
    FORGET_IDS = _FORGET_IDS

    def add(self, events: Sequence[Event]) -> list[str]:
        """See `EventStore.add`."""
        with self._writing() as db:
            return put_events(db, events)

    def _of_kinds(self, kinds: Collection[EventKind]) -> tuple[str, list[Any]]:
        return "kind = any(%s)", [sorted(kind.value for kind in kinds)]


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
    turn = db.execute(_TAKE_TURN).fetchone()
    assert turn is not None
    end = int(turn[0])
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
        return value if not value or label_key(label, value, event) in named else OTHER

    sums = Counter(count_key(event, counted) for event in events)
    columns: list[Sequence[Any]] = [list(column) for column in zip(*sums, strict=True)]
    db.execute(_COUNT, [*columns, list(sums.values())])


def _named(db: Connection, events: Iterable[Event]) -> set[LabelKey]:
    """Return the labels that are counted by name; new ones are, while there are few."""
    asked = dict.fromkeys(
        label_key(label, value, event)
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
