"""The status of tenants in SQLite; see `tenant_status` and `sqlite_file`.

Limits: a look at the version, once a second in three processes, takes some 10 µs.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from sqlite_utils import Database

from gatepost.feedback.events import Event
from gatepost.feedback.rules import Step
from gatepost.feedback.status import NORMAL, Change, Part, Pause, Status, event_of
from gatepost.store.sqlite_events import put_events
from gatepost.store.sqlite_file import SqliteFile
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
_PUT = f"insert or replace into tenant_status ({COLUMNS}) values ({', '.join('?' * 11)})"
_SELECT_PARTS = f"select {PART_COLUMNS} from tenant_pauses"
_PUT_PART = f"insert into tenant_pauses values ({', '.join('?' * 8)})"
# In the order in which they were set, so that it is told which one was there first.
_ORDER = "order by paused_at, campaign, domain"
# What the ladder would have done in mode observe is an event of the platform, not of the tenant.
_HISTORY = """
select id, at, details from events indexed by idx_events_status
where kind = 'tenant.status_changed'
and (tenant = :tenant or tenant = '' and json_extract(details, '$.tenant') = :tenant)
order by position desc limit :limit
"""
_TOUCH = "update tenant_status_version set version = version + 1"


class SqliteTenantStatus(SqliteFile):
    """Implements `TenantStatusStore`."""

    def version(self) -> int:
        """See `TenantStatusStore.version`."""
        with self._database() as db:
            row = db.execute("select version from tenant_status_version").fetchone()
        return int(row[0])

    def all(self) -> dict[str, Status]:
        """See `TenantStatusStore.all`."""
        with self._database() as db:
            parts = defaultdict(list)
            for row in db.execute(f"{_SELECT_PARTS} {_ORDER}"):
                parts[row[0]].append(part_of(row))
            return {row[0]: status_of(row, parts.get(row[0], ())) for row in db.execute(_SELECT)}

    def find(self, tenant: str) -> Status:
        """See `TenantStatusStore.find`."""
        with self._database() as db:
            return _find(db, tenant)

    def set_step(self, change: Change, expected: Status, step: Step, why: str) -> bool:
        """See `TenantStatusStore.set_step`."""
        with self._writing() as db:
            was = _find(db, change.tenant)
            if not is_still(was, expected):
                return False
            _put(db, change.tenant, replace(was, step=step, since=change.at, why=why), change)
        return True

    def pause(self, tenant: str, pause: Pause) -> Status:
        """See `TenantStatusStore.pause`."""
        with self._writing() as db:
            was = _find(db, tenant)
            _put(db, tenant, *paused(was, tenant, pause))
        return was

    def resume(
        self, tenant: str, at: float, by: str, reason: str, part: Part | None = None
    ) -> Status:
        """See `TenantStatusStore.resume`."""
        with self._writing() as db:
            was = _find(db, tenant)
            found = resumed(was, tenant, at, by, reason, part)
            if found is not None:
                _put(db, tenant, *found)
        return was

    def expire(self, now: float) -> list[str]:
        """See `TenantStatusStore.expire`."""
        query = (
            "select tenant, '' as campaign, '' as domain from tenant_status "
            "where scope != '' and until <= :now "
            "union all select tenant, campaign, domain from tenant_pauses where until <= :now"
        )
        with self._database() as db:
            if db.execute(query, {"now": now}).fetchone() is None:
                return []
        with self._writing() as db:
            ended = db.execute(query, {"now": now}).fetchall()
            for tenant, campaign, domain in ended:
                part = Part(campaign, domain)
                _put(db, tenant, *expired(_find(db, tenant), tenant, part))
        return list(dict.fromkeys(tenant for tenant, _, _ in ended))

    def history(self, tenant: str, limit: int) -> list[Event]:
        """See `TenantStatusStore.history`."""
        with self._database() as db:
            rows = db.execute(_HISTORY, {"tenant": tenant, "limit": limit}).fetchall()
        return [change_of(row, tenant) for row in rows]


def _find(db: Database, tenant: str) -> Status:
    row = db.execute(f"{_SELECT} where tenant = ?", [tenant]).fetchone()
    if row is None:
        return NORMAL
    parts = db.execute(f"{_SELECT_PARTS} where tenant = ? {_ORDER}", [tenant]).fetchall()
    return status_of(row, [part_of(each) for each in parts])


def _put(db: Database, tenant: str, status: Status, change: Change) -> None:
    db.execute(_PUT, status_row(tenant, status))
    db.execute("delete from tenant_pauses where tenant = ?", [tenant])
    for each in status.parts:
        db.execute(_PUT_PART, part_row(tenant, each))
    db.execute(_TOUCH)
    put_events(db, [event_of(change)])
