"""The status of tenants in SQLite; see `tenant_status` and `sqlite_file`.

Limits: a look at the version, once a second in three processes, takes some 10 µs.
"""

# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlite_utils import Database

from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.rules import Step
from gatepost.feedback.status import (
    NORMAL,
    Change,
    Pause,
    Scope,
    Status,
    Whose,
    event_of,
    moment,
    operator_word,
)
from gatepost.store.sqlite_events import put_events
from gatepost.store.sqlite_file import SqliteFile, storable

_SELECT = (
    "select tenant, step, since, why, counted_from, scope, reason, paused_at, until, by "
    "from tenant_status"
)
_PUT = "insert or replace into tenant_status values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
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
            return {row[0]: _status_of(row) for row in db.execute(_SELECT)}

    def find(self, tenant: str) -> Status:
        """See `TenantStatusStore.find`."""
        with self._database() as db:
            return _find(db, tenant)

    def set_step(self, change: Change, expected: Status, step: Step, why: str) -> bool:
        """See `TenantStatusStore.set_step`."""
        with self._writing() as db:
            was = _find(db, change.tenant)
            if (was.step, was.since, was.counted_from) != (
                expected.step,
                expected.since,
                expected.counted_from,
            ):
                return False
            _put(
                db, change.tenant, Status(step, change.at, why, was.pause, was.counted_from), change
            )
        return True

    def pause(self, tenant: str, pause: Pause) -> Status:
        """See `TenantStatusStore.pause`."""
        with self._writing() as db:
            was = _find(db, tenant)
            change = Change(
                tenant,
                Whose.OPERATOR,
                pause.since,
                operator_word(was.pause),
                operator_word(pause),
                {
                    "reason": pause.reason,
                    "by": pause.by,
                    **({} if pause.until is None else {"until": moment(pause.until)}),
                },
            )
            status = Status(was.step, was.since, was.why, pause, was.counted_from)
            _put(db, tenant, status, change)
        return was

    def resume(self, tenant: str, at: float, by: str, reason: str) -> Status:
        """See `TenantStatusStore.resume`."""
        with self._writing() as db:
            was = _find(db, tenant)
            details = {"by": by, "step": was.step.keyword, "reason": reason}
            change = Change(tenant, Whose.OPERATOR, at, operator_word(was.pause), "active", details)
            _put(db, tenant, Status(counted_from=at), change)
        return was

    def expire(self, now: float) -> list[str]:
        """See `TenantStatusStore.expire`."""
        query = "select tenant from tenant_status where scope != '' and until <= ?"
        with self._database() as db:
            if db.execute(query, [now]).fetchone() is None:
                return []
        with self._writing() as db:
            ended = [tenant for (tenant,) in db.execute(query, [now]).fetchall()]
            for tenant in ended:
                _end_pause(db, tenant)
        return ended

    def history(self, tenant: str, limit: int) -> list[Event]:
        """See `TenantStatusStore.history`."""
        with self._database() as db:
            rows = db.execute(_HISTORY, {"tenant": tenant, "limit": limit}).fetchall()
        return [
            Event(key, EventKind.STATUS_CHANGED, at, tenant, details=json.loads(details))
            for key, at, details in rows
        ]


def _end_pause(db: Database, tenant: str) -> None:
    was = _find(db, tenant)
    pause = was.pause
    assert pause is not None
    assert pause.until is not None
    change = Change(
        tenant,
        Whose.OPERATOR,
        pause.until,
        operator_word(pause),
        "active",
        {"reason": "the time of the pause is over"},
    )
    _put(db, tenant, Status(was.step, was.since, was.why, None, was.counted_from), change)


def _find(db: Database, tenant: str) -> Status:
    row = db.execute(f"{_SELECT} where tenant = ?", [tenant]).fetchone()
    return NORMAL if row is None else _status_of(row)


def _put(db: Database, tenant: str, status: Status, change: Change) -> None:
    pause = status.pause
    db.execute(
        _PUT,
        [
            tenant,
            int(status.step),
            status.since,
            storable(status.why),
            status.counted_from,
            pause.scope.value if pause else "",
            storable(pause.reason) if pause else "",
            pause.since if pause else 0.0,
            pause.until if pause else None,
            storable(pause.by) if pause else "",
        ],
    )
    db.execute(_TOUCH)
    put_events(db, [event_of(change)])


def _status_of(row: Sequence[Any]) -> Status:
    _, step, since, why, counted_from, scope, reason, paused_at, until, by = row
    pause = Pause(Scope(scope), reason, paused_at, until, by) if scope else None
    return Status(Step(step), since, why, pause, counted_from)
