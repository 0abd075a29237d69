"""How events are read and deleted, which is the same in every database.

Purpose: see `events`; how they are added is each database's own.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this package; values are bound.

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from gatepost.feedback.events import Event, EventKind
from gatepost.store.engine import Engine, Queryable
from gatepost.store.event_rows import COLUMNS, count_of, stored_of
from gatepost.store.events import (
    KEEP_COUNTS_S,
    KEEP_IDS_S,
    SCAN_ROWS,
    SECONDS_A_DAY,
    SECONDS_AN_HOUR,
    EventCount,
    Page,
    StoredEvent,
)


class EventQueries(Engine):
    """The methods of `gatepost.store.events.EventStore` but `add`.

    Attributes:
        END: Finds the position of the last event that was ever stored.
        COUNTS: Finds counts, for ``first``, ``end`` and ``tenant``.
        FORGET: Deletes some events that happened before a time.
        FORGET_IDS: Deletes some ids of days before one.
    """

    END: ClassVar[str]
    COUNTS: ClassVar[str]
    FORGET: ClassVar[str]
    FORGET_IDS: ClassVar[str]

    def find(self, event_id: str) -> Event | None:
        """See `EventStore.find`."""
        query = f"select position, {COLUMNS} from events where id = {self.MARK}"
        row = self._first(query, [event_id])
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
        with self._looking() as db:
            # The end comes first: what is added afterwards lies behind it.
            last = self._end(db) if until is None else min(until, self._end(db))
            first = db.execute("select min(position) from events").fetchone()[0]
            if first is None or position >= last:
                return Page((), max(position, last))
            begin = max(position, first - 1)
            # The events of one tenant are found by an index; nothing is passed over.
            upto = last if tenant is not None else min(last, begin + max(SCAN_ROWS, limit))
            where, values = self._where(begin, upto, tenant, kinds)
            query = f"select position, {COLUMNS} from events where {where} order by position"
            rows = db.execute(f"{query} limit {self.MARK}", [*values, limit]).fetchall()
        found = tuple(map(stored_of, rows))
        return Page(found, found[-1].position if len(found) == limit else max(upto, position))

    def end(self) -> int:
        """See `EventStore.end`."""
        with self._database() as db:
            return self._end(db)

    def position_at(self, since: float) -> int:
        """See `EventStore.position_at`."""
        query = f"select min(position) from events where at >= {self.MARK}"
        with self._looking() as db:
            end = self._end(db)
            first = db.execute(query, [since]).fetchone()[0]
        return end if first is None else int(first) - 1

    def last(
        self, limit: int, tenant: str | None = None, kinds: Collection[EventKind] | None = None
    ) -> int:
        """See `EventStore.last`."""
        with self._looking() as db:
            where, values = self._where(0, self._end(db), tenant, kinds)
            # The one before the last that are wanted, which is not itself among them.
            query = f"select position from events where {where} order by position desc limit 1"
            values.append(max(limit, 0))
            found = db.execute(f"{query} offset {self.MARK}", values).fetchone()
        return 0 if found is None else int(found[0])

    def count(
        self,
        begin: int,
        end: int,
        tenant: str | None = None,
        kinds: Collection[EventKind] | None = None,
    ) -> int:
        """See `EventStore.count`."""
        where, values = self._where(begin, end, tenant, kinds)
        return int(self._first(f"select count(*) from events where {where}", values)[0])

    def counts(self, since: float, until: float, tenant: str | None = None) -> list[EventCount]:
        """See `EventStore.counts`."""
        values = {
            "first": math.floor(since / SECONDS_AN_HOUR),
            "end": math.ceil(until / SECONDS_AN_HOUR),
            "tenant": tenant,
        }
        return [count_of(row) for row in self._all(self.COUNTS, values)]

    def prune(self, before: float) -> int:
        """See `EventStore.prune`."""
        before = self._by_server(before)
        # A day is over for good when events of it can no longer come: with the lasting ids.
        day = (before - KEEP_IDS_S) // SECONDS_A_DAY
        hour = (before - KEEP_COUNTS_S) // SECONDS_AN_HOUR
        deleted = 0
        while step := self._change(self.FORGET, [before]):
            deleted += step
        while self._change(self.FORGET_IDS, [day]):
            pass
        self._change(f"delete from event_counts where hour < {self.MARK}", [hour])
        self._change(f"delete from event_labels where day < {self.MARK}", [day])
        return deleted

    @abstractmethod
    def _of_kinds(self, kinds: Collection[EventKind]) -> tuple[str, list[Any]]:
        """Return the condition that an event is of one of some kinds, and its values."""

    def _looking(self) -> AbstractContextManager[Queryable]:
        """Give a connection for several queries, of which the first asks for the end."""
        return self._database()

    def _end(self, db: Queryable) -> int:
        found = db.execute(self.END).fetchone()
        return 0 if found is None else int(found[0])

    def _where(
        self, begin: int, end: int, tenant: str | None, kinds: Collection[EventKind] | None
    ) -> tuple[str, list[Any]]:
        values: list[Any] = [begin, end]
        where = f"position > {self.MARK} and position <= {self.MARK}"
        if tenant is not None:
            where += f" and tenant = {self.MARK}"
            values.append(tenant)
        if kinds is not None:
            condition, named = self._of_kinds(kinds)
            where += f" and {condition}"
            values += named
        return where, values
