"""What the status of a tenant does to its mail: at RCPT TO, at end of message, to its lane.

Purpose: mail of a paused tenant waits at the client, which still has it, and is neither lost nor
piled up in the queue. A pause of marketing or of a campaign shows at end of message only, where
mail type and campaign do. What is in the queue already is deferred at its next attempt, if the
pause says so.
Source: RFC 5321 §4.2.3 (450), RFC 3463 §3.8 (4.7.1), §3.4 (4.3.2); DESIGN "Modes"; transport(5)
and error(8): the service retry defers mail with the text of its next-hop.
Format: ``450 4.7.1 sending of TENANT is paused: REASON, since TIME``; ``retry:4.3.2`` with the same
text.
Errors: none.
Security: mail of a tenant with the null sender waits as well. It may be a bounce, which loses
nothing by waiting at its client; and a tenant could go on with it. The operator's pause holds in
whatever mode; the ladder's steps act in mode enforce only, and in observe say what they would do.
Not handled: the transport map knows no recipient and no campaign, so it defers nothing for the
pause of a part; and nothing that is in the queue waits for the ladder but by its slow lane.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from gatepost.decisions.actions import Reject
from gatepost.decisions.facts import CUT
from gatepost.domains import domain_of
from gatepost.feedback.rules import LadderRules, Step
from gatepost.feedback.status import Pause, Queued, Scope, Status, moment
from gatepost.modes import Mode
from gatepost.tenants.model import Tenant

_MAX_TEXT = 200
RETRY_SERVICE = "retry"
_SHUTDOWN = "4.3.2"
_MAX_NAME = 40


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


def hold_recipients(
    tenant: Tenant, recipients: Iterable[str], status: Status, now: float
) -> Hold | None:
    """Return why mail to any of some recipients waits, or None if it does not.

    Args:
        tenant: The tenant.
        recipients: Envelope recipients.
        status: Its status.
        now: Unix time in seconds.
    """
    paused = {
        each.domain: each for each in status.parts if each.scope is Scope.DOMAIN and each.holds(now)
    }
    pause = _to_paused_domain(paused, recipients)
    return None if pause is None else Hold(_by_operator(tenant, pause), acts=True)


def hold_message(
    tenant: Tenant,
    mail_types: Iterable[str],
    status: Status,
    now: float,
    campaigns: Iterable[str] = (),
    recipients: Collection[str] = (),
) -> Hold | None:
    """Return why a message waits, or None if it does not.

    It waits as a whole, and so does one to several recipients of which one is in a domain that is
    paused.

    Args:
        tenant: The tenant.
        mail_types: What its header says of the type of mail; several headers, several types.
        status: Its status.
        now: Unix time in seconds.
        campaigns: What its header says of the campaign, likewise.
        recipients: Envelope recipients.
    """
    held = hold_all(tenant, status, now)
    if held is not None and held.acts:
        return held
    part = _paused_part(campaigns, recipients, status, now) if status.parts else None
    if part is not None:
        return Hold(_by_operator(tenant, part), acts=True)
    if not is_marketing(tenant, mail_types):
        return held
    pause = status.pause
    if pause is not None and pause.scope is Scope.MARKETING and pause.holds(now):
        return Hold(_by_operator(tenant, pause), acts=True)
    return held or _by_ladder(tenant, status, Step.PAUSE_MARKETING, "marketing mail")


def retry_text(tenant: Tenant, status: Status, now: float) -> str | None:
    """Return what defers a tenant's queued mail, as next-hop of the service retry, or None.

    Args:
        tenant: The tenant.
        status: Its status.
        now: Unix time in seconds.
    """
    pause = status.pause_at(now)
    if pause is None or pause.scope is not Scope.ALL or pause.queued is not Queued.RETRY:
        return None
    return f"{_SHUTDOWN} {_by_operator(tenant, pause).text}"


def is_deferred_for_pause(reason: str, tenant_id: str) -> bool:
    """Tell whether Postfix's reason for a delay is the text of `retry_text`."""
    return reason.startswith(f"sending of {tenant_id} is paused: ")


def campaign_label(value: str) -> str:
    """Return a campaign as its header names it, in the form in which campaigns are compared."""
    return value.strip(f"{CUT} \t\r\n")


def is_marketing(tenant: Tenant, mail_types: Iterable[str]) -> bool:
    """Tell whether mail of these types waits when a tenant's marketing is paused."""
    types = tenant.marketing_types
    return bool(types) and any(each.strip().casefold() in types for each in mail_types)


def slow_lane(status: Status, rules: LadderRules) -> str | None:
    """Return the lane to which a status slows a tenant down, whatever its mode, or None."""
    return rules.lane if status.step >= Step.SLOW else None


def _paused_part(
    campaigns: Iterable[str], recipients: Collection[str], status: Status, now: float
) -> Pause | None:
    """Return the pause of a part that a message belongs to, or None."""
    labels = {campaign_label(each) for each in campaigns}
    about = [
        each
        for each in status.parts
        if each.holds(now) and (not each.campaign or each.campaign in labels)
    ]
    everywhere = next((each for each in about if not each.domain), None)
    return everywhere or _to_paused_domain({each.domain: each for each in about}, recipients)


def _to_paused_domain(paused: Mapping[str, Pause], recipients: Iterable[str]) -> Pause | None:
    if not paused:
        return None
    found = (paused.get(domain_of(each) or "") for each in recipients)
    return next((each for each in found if each is not None), None)


def _by_ladder(tenant: Tenant, status: Status, step: Step, what: str) -> Hold | None:
    mode = tenant.modes.ladder
    if status.step < step or mode is Mode.OFF:
        return None
    return Hold(_refusal(tenant, what, status.why, status.since), mode is Mode.ENFORCE)


def _by_operator(tenant: Tenant, pause: Pause) -> Reject:
    what = {Scope.MARKETING: "marketing mail"}.get(pause.scope, "sending")
    if pause.campaign:
        # It is shown in SMTP, and may be any text.
        what = f"campaign {pause.campaign[:_MAX_NAME].encode('ascii', 'replace').decode('ascii')}"
    return _refusal(tenant, what, pause.reason, pause.since, pause.domain)


def _refusal(tenant: Tenant, what: str, reason: str, since: float, domain: str = "") -> Reject:
    tail = f", since {moment(since)}"
    to = f" to {domain[:_MAX_NAME]}" if domain else ""
    head = f"{what} of {tenant.id}{to} is paused: {reason or 'no reason given'}"
    return Reject("450", "4.7.1", head[: _MAX_TEXT - len(tail)] + tail)
