"""How the status of tenants is read and changed, which is the same in every database.

Purpose: see `tenant_status`; every change is one transaction, with its event.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this package; values are bound.

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, ClassVar

from gatepost.feedback.events import Event
from gatepost.feedback.rules import Step
from gatepost.feedback.status import NORMAL, Change, Part, Pause, Status, event_of
from gatepost.store.engine import Engine, Queryable
from gatepost.store.tenant_status_rows import (
    COLUMNS,
    PART_COLUMNS,
    change_of,
    expired,
    is_still,
    part_of,
    part_row,
    paused,
    resumed,
    status_of,
    status_row,
)

_SELECT = f"select {COLUMNS} from tenant_status"
_SELECT_PARTS = f"select {PART_COLUMNS} from tenant_pauses"
_REPLACE = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS.split(", ")[1:])
_PUT = f"""
insert into tenant_status ({COLUMNS}) values ({{values}})
on conflict (tenant) do update set {_REPLACE}
"""
_PUT_PART = f"insert into tenant_pauses ({PART_COLUMNS}) values ({{values}})"
_ENDED = """
select tenant, '' as campaign, '' as domain from tenant_status
where scope <> '' and until <= {mark}
union all select tenant, campaign, domain from tenant_pauses where until <= {mark}
"""
_TOUCH = "update tenant_status_version set version = version + 1"


class TenantStatusChanges(Engine):
    """Implements `gatepost.store.tenant_status.TenantStatusStore`.

    Attributes:
        ORDER: Orders parts as they were set, so that it is told which one was there first.
        HISTORY: Finds id, time and details of changes, for ``tenant`` and ``limit``.
    """

    ORDER: ClassVar[str]
    HISTORY: ClassVar[str]

    def version(self) -> int:
        """See `TenantStatusStore.version`."""
        return int(self._first("select version from tenant_status_version", [])[0])

    def all(self) -> dict[str, Status]:
        """See `TenantStatusStore.all`."""
        with self._reading() as db:
            parts = defaultdict(list)
            for row in db.execute(f"{_SELECT_PARTS} {self.ORDER}"):
                parts[row[0]].append(part_of(row))
            return {row[0]: status_of(row, parts.get(row[0], ())) for row in db.execute(_SELECT)}

    def find(self, tenant: str) -> Status:
        """See `TenantStatusStore.find`."""
        with self._reading() as db:
            return self._find(db, tenant)

    def set_step(self, change: Change, expected: Status, step: Step, why: str) -> bool:
        """See `TenantStatusStore.set_step`."""
        with self._in_turn() as db:
            was = self._find(db, change.tenant)
            if not is_still(was, expected):
                return False
            now = replace(was, step=step, since=change.at, why=why)
            self._put(db, change.tenant, now, change)
        return True

    def pause(self, tenant: str, pause: Pause) -> Status:
        """See `TenantStatusStore.pause`."""
        with self._in_turn() as db:
            was = self._find(db, tenant)
            self._put(db, tenant, *paused(was, tenant, pause))
        return was

    def resume(
        self, tenant: str, at: float, by: str, reason: str, part: Part | None = None
    ) -> Status:
        """See `TenantStatusStore.resume`."""
        with self._in_turn() as db:
            was = self._find(db, tenant)
            found = resumed(was, tenant, at, by, reason, part)
            if found is not None:
                self._put(db, tenant, *found)
        return was

    def expire(self, now: float) -> list[str]:
        """See `TenantStatusStore.expire`."""
        query = _ENDED.format(mark=self.MARK)
        if self._first(query, [now, now]) is None:
            return []
        now = self._by_server(now)
        with self._in_turn() as db:
            ended = db.execute(query, [now, now]).fetchall()
            for tenant, campaign, domain in ended:
                part = Part(campaign, domain)
                self._put(db, tenant, *expired(self._find(db, tenant), tenant, part))
        return list(dict.fromkeys(tenant for tenant, _, _ in ended))

    def history(self, tenant: str, limit: int) -> list[Event]:
        """See `TenantStatusStore.history`."""
        rows = self._all(self.HISTORY, {"tenant": tenant, "limit": limit})
        return [change_of(row, tenant) for row in rows]

    @abstractmethod
    def _put_events(self, db: Any, events: Sequence[Event]) -> None:
        """Store events within the transaction."""

    def _in_turn(self) -> AbstractContextManager[Queryable]:
        """Give a connection within a transaction that nobody else changes a status beside."""
        return self._writing()

    def _find(self, db: Queryable, tenant: str) -> Status:
        where = f"where tenant = {self.MARK}"
        row = db.execute(f"{_SELECT} {where}", [tenant]).fetchone()
        if row is None:
            return NORMAL
        parts = db.execute(f"{_SELECT_PARTS} {where} {self.ORDER}", [tenant]).fetchall()
        return status_of(row, [part_of(each) for each in parts])

    def _put(self, db: Queryable, tenant: str, status: Status, change: Change) -> None:
        self._insert(db, _PUT, status_row(tenant, status))
        db.execute(f"delete from tenant_pauses where tenant = {self.MARK}", [tenant])
        for each in status.parts:
            self._insert(db, _PUT_PART, part_row(tenant, each))
        db.execute(_TOUCH)
        self._put_events(db, [event_of(change)])

    def _insert(self, db: Queryable, statement: str, row: Sequence[Any]) -> None:
        db.execute(statement.format(values=", ".join([self.MARK] * len(row))), list(row))
