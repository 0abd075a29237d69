"""The rows of tenants' status and what becomes of one, which are the same in every database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.rules import Step
from gatepost.feedback.status import (
    Change,
    Part,
    Pause,
    Queued,
    Scope,
    Status,
    Whose,
    moment,
    operator_word,
    part_details,
)
from gatepost.store.text import storable

COLUMNS = "tenant, step, since, why, counted_from, scope, reason, paused_at, until, by, queued"
PART_COLUMNS = "tenant, campaign, domain, reason, paused_at, until, by, queued"


def is_still(was: Status, expected: Status) -> bool:
    """Tell whether step and window are those that a new step was computed from."""
    return (was.step, was.since, was.counted_from) == (
        expected.step,
        expected.since,
        expected.counted_from,
    )


def paused(was: Status, tenant: str, pause: Pause) -> tuple[Status, Change]:
    """Return what a pause by the operator makes of a status, and what is told of it."""
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
    return was.with_pause(pause.part, pause), change


def resumed(
    was: Status, tenant: str, at: float, by: str, reason: str, part: Part | None
) -> tuple[Status, Change] | None:
    """Return what a resume makes of a status, or None; see `TenantStatusStore.resume`."""
    if part is None:
        ended, now = was.pause, Status(counted_from=at)
        details: dict[str, str | int | float] = {"step": was.step.keyword}
        if was.parts:
            details["parts"] = len(was.parts)
    else:
        ended, now = was.pause_of(part), was.with_pause(part, None)
        details = {**part_details(part)}
        if ended is None:
            return None
    details |= {"by": by, "reason": reason}
    return now, Change(tenant, Whose.OPERATOR, at, operator_word(ended), "active", details)


def expired(was: Status, tenant: str, part: Part) -> tuple[Status, Change]:
    """Return what the end of a pause makes of a status, and what is told of it."""
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
    return was.with_pause(part, None), change


def status_row(tenant: str, status: Status) -> tuple[Any, ...]:
    """Return the `COLUMNS` of a status."""
    pause = status.pause
    return (
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
    )


def part_row(tenant: str, pause: Pause) -> tuple[Any, ...]:
    """Return the `PART_COLUMNS` of the pause of a part."""
    texts = (tenant, storable(pause.campaign), pause.domain, storable(pause.reason))
    return (*texts, pause.since, pause.until, storable(pause.by), pause.queued.value)


def status_of(row: Sequence[Any], parts: Sequence[Pause]) -> Status:
    """Return the status of a row, its `COLUMNS`."""
    _, step, since, why, counted_from, scope, reason, paused_at, until, by, queued = row
    pause = Pause(Scope(scope), reason, paused_at, until, by, Queued(queued)) if scope else None
    return Status(Step(step), since, why, pause, counted_from, tuple(parts))


def part_of(row: Sequence[Any]) -> Pause:
    """Return the pause of a row, its `PART_COLUMNS`."""
    _, campaign, domain, reason, paused_at, until, by, queued = row
    part = Part(campaign, domain)
    return Pause(part.scope, reason, paused_at, until, by, Queued(queued), campaign, domain)


def change_of(row: Sequence[Any], tenant: str) -> Event:
    """Return a change of a status as an event of the tenant: its id, time and details."""
    key, at, details = row
    return Event(key, EventKind.STATUS_CHANGED, at, tenant, details=json.loads(details))
