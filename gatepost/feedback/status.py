"""The status of a tenant: what the ladder has set by itself, and what the operator has.

Purpose: the two are kept apart and both must allow. Neither hides the other: what an operator
paused stays paused however good the rates are, and a resume takes back both. Of the operator's
pauses there is one of the tenant as a whole, and besides it one for each campaign, each recipient
domain, and each campaign at a recipient domain.
Errors: none.
Security: a reason is shown to whoever sends for the tenant, in the reply to RCPT TO.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
    CAMPAIGN = "campaign"
    DOMAIN = "domain"
    CAMPAIGN_DOMAIN = "campaign-domain"


class Queued(StrEnum):
    """What becomes of mail that is in the queue when a pause begins."""

    # It goes on.
    KEEP = "keep"
    # It is deferred at each attempt, and expires as all mail does.
    RETRY = "retry"
    # It is put on hold, and does not expire.
    HOLD = "hold"


class Whose(StrEnum):
    """Who has set a status."""

    AUTOMATIC = "automatic"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a tenant's mail; a tenant has one pause at the most for each.

    Attributes:
        campaign: A campaign, or empty for all.
        domain: A recipient domain, normalised, or empty for all.
    """

    campaign: str = ""
    domain: str = ""

    @property
    def scope(self) -> Scope:
        """Return the scope of a pause of it."""
        if self.campaign:
            return Scope.CAMPAIGN_DOMAIN if self.domain else Scope.CAMPAIGN
        return Scope.DOMAIN if self.domain else Scope.ALL

    def words(self) -> str:
        """Return it as people read it, such as ``campaign spring to example.org``."""
        found = f"campaign {self.campaign}" if self.campaign else "mail"
        return f"{found} to {self.domain}" if self.domain else found


WHOLE = Part()


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause by the operator.

    Attributes:
        scope: What waits.
        reason: Why, at most `MAX_REASON` characters of printable ASCII.
        since: Unix time in seconds.
        until: Unix time at which it ends by itself, or None.
        by: Who did it, such as the account.
        queued: What becomes of mail that is in the queue already.
        campaign: The campaign that waits, or empty where not only one does.
        domain: The recipient domain, normalised, to which it waits, or empty.
    """

    scope: Scope
    reason: str
    since: float
    until: float | None = None
    by: str = ""
    queued: Queued = Queued.KEEP
    campaign: str = ""
    domain: str = ""

    @property
    def part(self) -> Part:
        """Return which part of the tenant's mail it is about."""
        return Part(self.campaign, self.domain)

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
        pause: The operator's pause of the tenant as a whole, or None.
        counted_from: Unix time before which nothing counts for the ladder: the last resume.
        parts: The operator's pauses of parts of its mail, each of another part.
    """

    step: Step = Step.NONE
    since: float = 0.0
    why: str = ""
    pause: Pause | None = None
    counted_from: float = 0.0
    parts: tuple[Pause, ...] = ()

    def pause_at(self, now: float) -> Pause | None:
        """Return the operator's pause of the whole, or None where there is none or it has ended."""
        return self.pause if self.pause is not None and self.pause.holds(now) else None

    def pauses_at(self, now: float) -> list[Pause]:
        """Return all pauses by the operator that have not ended, that of the whole first."""
        whole = [] if self.pause is None else [self.pause]
        return [each for each in (*whole, *self.parts) if each.holds(now)]

    def pause_of(self, part: Part) -> Pause | None:
        """Return the operator's pause of a part, whether it has ended or not."""
        if part == WHOLE:
            return self.pause
        return next((each for each in self.parts if each.part == part), None)

    def with_pause(self, part: Part, pause: Pause | None) -> Status:
        """Return the status with another pause of a part, or without one."""
        if part == WHOLE:
            return replace(self, pause=pause)
        others = tuple(each for each in self.parts if each.part != part)
        return replace(self, parts=others if pause is None else (*others, pause))


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
        before: What held before: a step, or ``active``, ``paused-all``, ``paused-marketing``,
            ``paused-campaign`` and so on.
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
        part = [str(self.details.get(each, "")) for each in ("campaign", "domain")]
        return status_id(self.tenant, self.whose.value, self.at, *(part if any(part) else ()))


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


def part_details(part: Part) -> dict[str, str]:
    """Return what an event tells of a part; empty for the whole."""
    named = {"campaign": part.campaign, "domain": part.domain}
    return {name: value for name, value in named.items() if value}


def operator_word(pause: Pause | None) -> str:
    """Return the operator's status in one word."""
    return "active" if pause is None else f"paused-{pause.scope.value}"


def moment(at: float) -> str:
    """Return a Unix time as people read it, in UTC and to the minute."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
