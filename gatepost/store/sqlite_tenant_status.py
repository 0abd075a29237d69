"""The status of tenants in SQLite; see `tenant_status` and `sqlite_file`.

Limits: a look at the version, once a second in three processes, takes some 10 µs.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlite_utils import Database

from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.rules import Step
from gatepost.feedback.status import (
    NORMAL,
    Change,
    Part,
    Pause,
    Queued,
    Scope,
    Status,
    Whose,
    event_of,
    moment,
    operator_word,
    part_details,
)
from gatepost.store.sqlite_events import put_events
from gatepost.store.sqlite_file import SqliteFile, storable

_COLUMNS = "tenant, step, since, why, counted_from, scope, reason, paused_at, until, by, queued"
_SELECT = f"select {_COLUMNS} from tenant_status"
_PUT = f"insert or replace into tenant_status ({_COLUMNS}) values ({', '.join('?' * 11)})"
_SELECT_PARTS = (
    "select tenant, campaign, domain, reason, paused_at, until, by, queued from tenant_pauses"
)
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
                parts[row[0]].append(_part_of(row))
            return {row[0]: _status_of(row, parts.get(row[0], ())) for row in db.execute(_SELECT)}

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
            _put(db, change.tenant, replace(was, step=step, since=change.at, why=why), change)
        return True

    def pause(self, tenant: str, pause: Pause) -> Status:
        """See `TenantStatusStore.pause`."""
        with self._writing() as db:
            was = _find(db, tenant)
            change = Change(
                tenant,
                Whose.OPERATOR,
                pause.since,
                operator_word(was.pause_of(pause.part)),
                operator_word(pause),
                {
                    "reason": pause.reason,
                    "by": pause.by,
                    "queued": pause.queued.value,
                    **part_details(pause.part),
                    **({} if pause.until is None else {"until": moment(pause.until)}),
                },
            )
            _put(db, tenant, was.with_pause(pause.part, pause), change)
        return was

    def resume(
        self, tenant: str, at: float, by: str, reason: str, part: Part | None = None
    ) -> Status:
        """See `TenantStatusStore.resume`."""
        with self._writing() as db:
            was = _find(db, tenant)
            if part is None:
                ended, now = was.pause, Status(counted_from=at)
                details: dict[str, str | int | float] = {"step": was.step.keyword}
                if was.parts:
                    details["parts"] = len(was.parts)
            else:
                ended, now = was.pause_of(part), was.with_pause(part, None)
                details = {**part_details(part)}
                if ended is None:
                    return was
            details |= {"by": by, "reason": reason}
            before = operator_word(ended)
            _put(db, tenant, now, Change(tenant, Whose.OPERATOR, at, before, "active", details))
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
                _end_pause(db, tenant, Part(campaign, domain))
        return list(dict.fromkeys(tenant for tenant, _, _ in ended))

    def history(self, tenant: str, limit: int) -> list[Event]:
        """See `TenantStatusStore.history`."""
        with self._database() as db:
            rows = db.execute(_HISTORY, {"tenant": tenant, "limit": limit}).fetchall()
        return [
            Event(key, EventKind.STATUS_CHANGED, at, tenant, details=json.loads(details))
            for key, at, details in rows
        ]


def _end_pause(db: Database, tenant: str, part: Part) -> None:
    was = _find(db, tenant)
    pause = was.pause_of(part)
    assert pause is not None
    assert pause.until is not None
    change = Change(
        tenant,
        Whose.OPERATOR,
        pause.until,
        operator_word(pause),
        "active",
        {"reason": "the time of the pause is over", **part_details(part)},
    )
    _put(db, tenant, was.with_pause(part, None), change)


def _find(db: Database, tenant: str) -> Status:
    row = db.execute(f"{_SELECT} where tenant = ?", [tenant]).fetchone()
    if row is None:
        return NORMAL
    parts = db.execute(f"{_SELECT_PARTS} where tenant = ? {_ORDER}", [tenant]).fetchall()
    return _status_of(row, [_part_of(each) for each in parts])


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
            (pause.queued if pause else Queued.KEEP).value,
        ],
    )
    db.execute("delete from tenant_pauses where tenant = ?", [tenant])
    for each in status.parts:
        texts = (tenant, storable(each.campaign), each.domain, storable(each.reason))
        row = (*texts, each.since, each.until, storable(each.by), each.queued.value)
        db.execute(_PUT_PART, row)
    db.execute(_TOUCH)
    put_events(db, [event_of(change)])


def _status_of(row: Sequence[Any], parts: Sequence[Pause]) -> Status:
    _, step, since, why, counted_from, scope, reason, paused_at, until, by, queued = row
    pause = Pause(Scope(scope), reason, paused_at, until, by, Queued(queued)) if scope else None
    return Status(Step(step), since, why, pause, counted_from, tuple(parts))


def _part_of(row: Sequence[Any]) -> Pause:
    _, campaign, domain, reason, paused_at, until, by, queued = row
    part = Part(campaign, domain)
    return Pause(part.scope, reason, paused_at, until, by, Queued(queued), campaign, domain)
