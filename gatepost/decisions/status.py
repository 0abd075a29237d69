"""What the status of a tenant does to its mail: at RCPT TO, at end of message, to its lane.

Purpose: mail of a paused tenant waits at the client, which still has it, and is neither lost nor
piled up in the queue. A pause of marketing shows at end of message only, where the mail type does.
Source: RFC 5321 §4.2.3 (450), RFC 3463 §3.8 (4.7.1); DESIGN "Modes".
Format: ``450 4.7.1 sending of TENANT is paused: REASON, since TIME``.
Errors: none.
Security: mail of a tenant with the null sender waits as well. It may be a bounce, which loses
nothing by waiting at its client; and a tenant could go on with it. The operator's pause holds in
whatever mode; the ladder's steps act in mode enforce only, and in observe say what they would do.
Not handled: mail that is in the queue already goes on, by the lane of the ladder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gatepost.decisions.actions import Reject
from gatepost.feedback.rules import LadderRules, Step
from gatepost.feedback.status import Pause, Scope, Status, Statuses, moment
from gatepost.modes import Mode
from gatepost.tenants.model import Tenant

_MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class Hold:
    """A refusal for now.

    Attributes:
        reject: What the client is told.
        acts: Whether it is; else the ladder is in mode observe, and it would be.
    """

    reject: Reject
    acts: bool


def hold_all(tenant: Tenant, status: Status, now: float) -> Hold | None:
    """Return why all mail of a tenant waits, or None if it does not.

    Args:
        tenant: The tenant.
        status: Its status.
        now: Unix time in seconds.
    """
    pause = status.pause
    if pause is not None and pause.scope is Scope.ALL and pause.holds(now):
        return Hold(_by_operator(tenant, pause), acts=True)
    return _by_ladder(tenant, status, Step.PAUSE_ALL, "sending")


def hold_message(
    tenant: Tenant, mail_types: Iterable[str], status: Status, now: float
) -> Hold | None:
    """Return why a message waits, or None if it does not.

    Args:
        tenant: The tenant.
        mail_types: What its header says of the type of mail; several headers, several types.
        status: Its status.
        now: Unix time in seconds.
    """
    held = hold_all(tenant, status, now)
    if (held is not None and held.acts) or not is_marketing(tenant, mail_types):
        return held
    pause = status.pause
    if pause is not None and pause.scope is Scope.MARKETING and pause.holds(now):
        return Hold(_by_operator(tenant, pause), acts=True)
    return held or _by_ladder(tenant, status, Step.PAUSE_MARKETING, "marketing mail")


def is_marketing(tenant: Tenant, mail_types: Iterable[str]) -> bool:
    """Tell whether mail of these types waits when a tenant's marketing is paused."""
    types = tenant.marketing_types
    return bool(types) and any(each.strip().casefold() in types for each in mail_types)


def lane_of(tenant: Tenant, lane: str, statuses: Statuses, rules: LadderRules) -> str:
    """Return the lane by which a tenant's mail goes.

    Args:
        tenant: The tenant.
        lane: The lane that it has otherwise.
        statuses: Of all tenants.
        rules: Which lane is the slow one.
    """
    status = statuses.get(tenant.id)
    if status is None or tenant.modes.ladder is not Mode.ENFORCE:
        return lane
    return slow_lane(status, rules) or lane


def slow_lane(status: Status, rules: LadderRules) -> str | None:
    """Return the lane to which a status slows a tenant down, whatever its mode, or None."""
    return rules.lane if status.step >= Step.SLOW else None


def _by_ladder(tenant: Tenant, status: Status, step: Step, what: str) -> Hold | None:
    mode = tenant.modes.ladder
    if status.step < step or mode is Mode.OFF:
        return None
    return Hold(_refusal(tenant, what, status.why, status.since), mode is Mode.ENFORCE)


def _by_operator(tenant: Tenant, pause: Pause) -> Reject:
    what = "sending" if pause.scope is Scope.ALL else "marketing mail"
    return _refusal(tenant, what, pause.reason, pause.since)


def _refusal(tenant: Tenant, what: str, reason: str, since: float) -> Reject:
    tail = f", since {moment(since)}"
    head = f"{what} of {tenant.id} is paused: {reason or 'no reason given'}"
    return Reject("450", "4.7.1", head[: _MAX_TEXT - len(tail)] + tail)
