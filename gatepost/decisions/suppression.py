"""What becomes of mail to an address that is no longer written to.

Purpose: refuse the recipient while the client still holds the message. A platform login says only
in the message which tenant it sends for: its suppressed recipients are deleted at end of message,
and the message is refused if none is left.
Source: RFC 5321 §4.2.3 (550), RFC 3463 §3.8 (X.7.1), §3.4 (X.3.0).
Format: ``550 5.7.1 suppressed for this sender since 2026-11-24: complaint``; Postfix puts the
recipient before it. An entry of the global list has no date: it would tell when others wrote there.
Errors: none.
Security: who sends is told reason and date of its own entries, and neither note nor source. The
null sender and mail of no tenant always pass: a refused bounce is a lost one.
Not handled: mail that is in the queue already, and mail that sendmail(1) takes, for which there is
no RCPT TO.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from gatepost.decisions.actions import Reject
from gatepost.decisions.recipient import Verdict
from gatepost.feedback.event_ids import suppressed_id
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.rules import OnFailure
from gatepost.feedback.suppression import GLOBAL, Suppressed
from gatepost.modes import MAX_DETAIL, Feature, Mode, Observation
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import Tenant

_UNKNOWN: Final = Reject("451", "4.3.0", "cannot tell whether this recipient is suppressed")
_ALL: Final = "all recipients are suppressed for this sender; the first"


@dataclass(frozen=True, slots=True)
class Occasion:
    """A transaction in which recipients are looked up.

    Attributes:
        sender: Envelope sender as the client gave it.
        queue_id: Queue id; empty before the first accepted recipient.
        transaction: What tells this transaction from others: the message id of the token in hex, or
            Postfix's ``instance`` at RCPT TO.
        message: The message id of the token in hex, or empty at RCPT TO.
    """

    sender: str
    queue_id: str
    transaction: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of recipients.

    Attributes:
        verdict: The answer.
        delete: Indices, from 0, of the recipients to delete from a message that passes.
        events: What happened.
    """

    verdict: Verdict
    delete: tuple[int, ...] = ()
    events: tuple[Event, ...] = ()


def asks_for_suppression(verdict: Verdict, sender: str, snapshot: Snapshot) -> Tenant | None:
    """Return the tenant whose list has to be asked before the answer stands, or None.

    Args:
        verdict: The answer so far.
        sender: Envelope sender.
        snapshot: The configuration.
    """
    if verdict.reject is not None or not verdict.tenant or not sender:
        return None
    tenant = snapshot.tenants.by_id[verdict.tenant]
    return None if tenant.modes.suppression is Mode.OFF else tenant


def decide_suppressed(
    verdict: Verdict,
    tenant: Tenant,
    occasion: Occasion,
    recipient: str,
    entry: Suppressed | None,
    now: float,
) -> Outcome:
    """Return the answer for one recipient at RCPT TO.

    Args:
        verdict: The answer so far, for which `asks_for_suppression` gave the tenant.
        tenant: The tenant.
        occasion: The transaction.
        recipient: Envelope recipient.
        entry: What the list says of it.
        now: Unix time in seconds.
    """
    if entry is None:
        return Outcome(verdict)
    reject = Reject("550", "5.7.1", _text(entry))
    mode = tenant.modes.suppression
    reasons = (*verdict.reasons, f"{reject.text} (mode {mode})")
    if mode is not Mode.ENFORCE:
        seen = _observation(tenant, "reject", reject.text, occasion, recipient, now)
        return Outcome(
            replace(verdict, observations=(*verdict.observations, seen), reasons=reasons)
        )
    return Outcome(
        replace(verdict, reject=reject, prepend=None, reasons=reasons),
        events=(_event(tenant, occasion, recipient, entry, now),),
    )


def decide_message_suppressed(
    verdict: Verdict,
    tenant: Tenant,
    occasion: Occasion,
    recipients: Sequence[str],
    entries: Sequence[Suppressed | None],
    now: float,
) -> Outcome:
    """Return the answer for a whole message, at its end.

    Args:
        verdict: The answer so far, for which `asks_for_suppression` gave the tenant.
        tenant: The tenant.
        occasion: The transaction.
        recipients: Envelope recipients.
        entries: What the list says of each.
        now: Unix time in seconds.
    """
    found = [
        (index, recipients[index], entry)
        for index, entry in enumerate(entries)
        if entry is not None
    ]
    if not found:
        return Outcome(verdict)
    everybody = len(found) == len(recipients)
    mode = tenant.modes.suppression
    texts = tuple(f"{recipient}: {_text(entry)} (mode {mode})" for _, recipient, entry in found)
    reasons = (*verdict.reasons, *texts)
    if mode is not Mode.ENFORCE:
        action = "reject" if everybody else "delete-recipient"
        seen = tuple(
            _observation(tenant, action, _text(entry), occasion, recipient, now)
            for _, recipient, entry in found
        )
        return Outcome(replace(verdict, observations=verdict.observations + seen, reasons=reasons))
    events = tuple(_event(tenant, occasion, recipient, entry, now) for _, recipient, entry in found)
    if everybody:
        first = _text(found[0][2])
        reject = Reject("550", "5.7.1", first if len(found) == 1 else f"{_ALL}: {first}")
        return Outcome(replace(verdict, reject=reject, reasons=reasons), events=events)
    return Outcome(replace(verdict, reasons=reasons), tuple(index for index, _, _ in found), events)


def decide_unknown(verdict: Verdict, tenant: Tenant, snapshot: Snapshot) -> Verdict:
    """Return the answer while the list cannot be asked.

    Args:
        verdict: The answer so far.
        tenant: The tenant.
        snapshot: The configuration.
    """
    waits = snapshot.suppression.on_failure is OnFailure.DEFER
    if not waits or tenant.modes.suppression is not Mode.ENFORCE:
        return verdict
    return replace(
        verdict, reject=_UNKNOWN, prepend=None, reasons=(*verdict.reasons, _UNKNOWN.text)
    )


def _text(entry: Suppressed) -> str:
    if entry.tenant == GLOBAL:
        return f"suppressed for every sender: {entry.reason.words}"
    return f"suppressed for this sender since {_date(entry.at)}: {entry.reason.words}"


def _date(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d")


def _observation(
    tenant: Tenant, action: str, detail: str, occasion: Occasion, recipient: str, now: float
) -> Observation:
    return Observation(
        now,
        tenant.id,
        Feature.SUPPRESSION,
        action,
        detail[:MAX_DETAIL],
        occasion.queue_id,
        occasion.sender,
        recipient,
    )


def _event(
    tenant: Tenant, occasion: Occasion, recipient: str, entry: Suppressed, now: float
) -> Event:
    details: dict[str, str | int | float] = {"reason": entry.reason.value}
    if entry.tenant != GLOBAL:
        details["since"] = _date(entry.at)
    return Event(
        suppressed_id(tenant.id, occasion.transaction, recipient),
        EventKind.SUPPRESSED,
        now,
        tenant.id,
        message=occasion.message,
        queue_id=occasion.queue_id,
        sender=occasion.sender,
        recipient=recipient,
        details=details,
    )
