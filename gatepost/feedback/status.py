"""The status of a tenant: what the ladder has set by itself, and what the operator has.

Purpose: the two are kept apart and both must allow. Neither hides the other: what an operator
paused stays paused however good the rates are, and a resume takes back both.
Errors: none.
Security: a reason is shown to whoever sends for the tenant, in the reply to RCPT TO.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from gatepost.feedback.event_ids import status_id
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.rules import Step
from gatepost.modes import Mode

MAX_REASON = 100


class Scope(StrEnum):
    """What a pause holds up."""

    ALL = "all"
    MARKETING = "marketing"


class Whose(StrEnum):
    """Who has set a status."""

    AUTOMATIC = "automatic"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause by the operator.

    Attributes:
        scope: What waits.
        reason: Why, at most `MAX_REASON` characters of printable ASCII.
        since: Unix time in seconds.
        until: Unix time at which it ends by itself, or None.
        by: Who did it, such as the account.
    """

    scope: Scope
    reason: str
    since: float
    until: float | None = None
    by: str = ""

    def holds(self, now: float) -> bool:
        """Tell whether it has not ended."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class Status:
    """What holds for one tenant.

    Attributes:
        step: The step of the ladder.
        since: Unix time since when, or 0.
        why: The rate that led to it, in words.
        pause: The operator's pause, or None.
        counted_from: Unix time before which nothing counts for the ladder: the last resume.
    """

    step: Step = Step.NONE
    since: float = 0.0
    why: str = ""
    pause: Pause | None = None
    counted_from: float = 0.0

    def pause_at(self, now: float) -> Pause | None:
        """Return the operator's pause, or None where there is none or it has ended."""
        return self.pause if self.pause is not None and self.pause.holds(now) else None


NORMAL = Status()

# By tenant id; who is not in it has `NORMAL`.
Statuses = Mapping[str, Status]
NO_STATUSES: Statuses = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a status, for the record.

    Attributes:
        tenant: Tenant id.
        whose: Which of the two has changed.
        at: Unix time in seconds.
        before: What held before: a step, or ``active``, ``paused-all``, ``paused-marketing``.
        after: What holds now, likewise.
        details: Reason and numbers.
    """

    tenant: str
    whose: Whose
    at: float
    before: str
    after: str
    details: Mapping[str, str | int | float] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Return the id of its event."""
        return status_id(self.tenant, self.whose.value, self.at)


def event_of(change: Change) -> Event:
    """Return the event of a change.

    What the ladder would have done in mode observe is told to the platform alone, since nothing
    has changed for the tenant.
    """
    details: dict[str, str | int | float] = {
        "whose": change.whose.value,
        "from": change.before,
        "to": change.after,
        **change.details,
    }
    tenant = change.tenant
    if details.get("mode") == Mode.OBSERVE.value:
        details["tenant"], tenant = tenant, ""
    return Event(change.id, EventKind.STATUS_CHANGED, change.at, tenant, details=details)


def operator_word(pause: Pause | None) -> str:
    """Return the operator's status in one word."""
    return "active" if pause is None else f"paused-{pause.scope.value}"


def moment(at: float) -> str:
    """Return a Unix time as people read it, in UTC and to the minute."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
