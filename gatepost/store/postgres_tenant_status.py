"""The status of tenants in PostgreSQL; see `tenant_status` and `postgres_server`.

Purpose: several nodes run the ladder and end pauses. Each change takes the one row of the version
first, and so its turn; then it sees what those before it have done, and does nothing twice.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from gatepost.feedback.events import Event
from gatepost.feedback.rules import Step
from gatepost.feedback.status import NORMAL, Change, Part, Pause, Status, event_of
from gatepost.store.postgres_events import put_events
from gatepost.store.postgres_server import Connection, PostgresServer
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
_REPLACE = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS.split(", ")[1:])
_PUT = f"""
insert into tenant_status ({COLUMNS}) values ({", ".join(["%s"] * 11)})
on conflict (tenant) do update set {_REPLACE}
"""
_SELECT_PARTS = f"select {PART_COLUMNS} from tenant_pauses"
_PUT_PART = f"insert into tenant_pauses ({PART_COLUMNS}) values ({', '.join(['%s'] * 8)})"
# In the order in which they were set, so that it is told which one was there first.
_ORDER = 'order by paused_at, campaign collate "C", domain collate "C"'
# What the ladder would have done in mode observe is an event of the platform, not of the tenant.
_HISTORY = """
select id, at, details from events where kind = 'tenant.status_changed'
and (tenant = %(tenant)s or tenant = '' and details::jsonb ->> 'tenant' = %(tenant)s)
order by position desc limit %(limit)s
"""
_TAKE_TURN = "select version from tenant_status_version for update"
_TOUCH = "update tenant_status_version set version = version + 1"
_ENDED = """
select tenant, '' as campaign, '' as domain from tenant_status
where scope <> '' and until <= %(now)s
union all select tenant, campaign, domain from tenant_pauses where until <= %(now)s
"""


class PostgresTenantStatus(PostgresServer):
    """Implements `gatepost.store.tenant_status.TenantStatusStore`."""

    def version(self) -> int:
        """See `TenantStatusStore.version`."""
        with self._database() as db:
            row = db.execute("select version from tenant_status_version").fetchone()
        assert row is not None
        return int(row[0])

    def all(self) -> dict[str, Status]:
        """See `TenantStatusStore.all`."""
        with self._reading() as db:
            parts = defaultdict(list)
            for row in db.execute(f"{_SELECT_PARTS} {_ORDER}"):
                parts[row[0]].append(part_of(row))
            return {row[0]: status_of(row, parts.get(row[0], ())) for row in db.execute(_SELECT)}

    def find(self, tenant: str) -> Status:
        """See `TenantStatusStore.find`."""
        with self._reading() as db:
            return _find(db, tenant)

    def set_step(self, change: Change, expected: Status, step: Step, why: str) -> bool:
        """See `TenantStatusStore.set_step`."""
        with self._in_turn() as db:
            was = _find(db, change.tenant)
            if not is_still(was, expected):
                return False
            _put(db, change.tenant, replace(was, step=step, since=change.at, why=why), change)
        return True

    def pause(self, tenant: str, pause: Pause) -> Status:
        """See `TenantStatusStore.pause`."""
        with self._in_turn() as db:
            was = _find(db, tenant)
            _put(db, tenant, *paused(was, tenant, pause))
        return was

    def resume(
        self, tenant: str, at: float, by: str, reason: str, part: Part | None = None
    ) -> Status:
        """See `TenantStatusStore.resume`."""
        with self._in_turn() as db:
            was = _find(db, tenant)
            found = resumed(was, tenant, at, by, reason, part)
            if found is not None:
                _put(db, tenant, *found)
        return was

    def expire(self, now: float) -> list[str]:
        """See `TenantStatusStore.expire`."""
        with self._database() as db:
            if db.execute(_ENDED, {"now": now}).fetchone() is None:
                return []
        now = self._by_server(now)
        with self._in_turn() as db:
            ended = db.execute(_ENDED, {"now": now}).fetchall()
            for tenant, campaign, domain in ended:
                _put(db, tenant, *expired(_find(db, tenant), tenant, Part(campaign, domain)))
        return list(dict.fromkeys(tenant for tenant, _, _ in ended))

    def history(self, tenant: str, limit: int) -> list[Event]:
        """See `TenantStatusStore.history`."""
        with self._database() as db:
            rows = db.execute(_HISTORY, {"tenant": tenant, "limit": limit}).fetchall()
        return [change_of(row, tenant) for row in rows]

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[Connection]:
        with self._writing() as db:
            db.execute(_TAKE_TURN)
            yield db


def _find(db: Connection, tenant: str) -> Status:
    row = db.execute(f"{_SELECT} where tenant = %s", [tenant]).fetchone()
    if row is None:
        return NORMAL
    parts = db.execute(f"{_SELECT_PARTS} where tenant = %s {_ORDER}", [tenant]).fetchall()
    return status_of(row, [part_of(each) for each in parts])


def _put(db: Connection, tenant: str, status: Status, change: Change) -> None:
    db.execute(_PUT, status_row(tenant, status))
    db.execute("delete from tenant_pauses where tenant = %s", [tenant])
    for each in status.parts:
        db.execute(_PUT_PART, part_row(tenant, each))
    db.execute(_TOUCH)
    put_events(db, [event_of(change)])
