"""What goes into the message book when a message was accepted.

Purpose: a token that comes back names its message by number; this is what gives it back its names.
Format: only a message that carries a token of ours from now on: its tenant's feedback is enforced,
and it did not have one from an earlier run, under whose id it is in the book already.
Errors: none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gatepost.decisions.actions import Action, DeleteRecipient, Plan
from gatepost.decisions.facts import CUT, MessageFacts
from gatepost.decisions.headers import values_of
from gatepost.decisions.rerun import earlier_run
from gatepost.feedback.event_ids import accepted_id
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.sent import Message
from gatepost.feedback.token import message_id_of
from gatepost.modes import Mode
from gatepost.snapshot import Snapshot

MESSAGE_ID = "Message-ID"
# A label that is longer is no label.
MAX_LABEL = 200
MAX_MESSAGE_ID = 998


def accepted_message(
    facts: MessageFacts, plan: Plan, snapshot: Snapshot, now: float
) -> Message | None:
    """Return what the book is to have of a message, or None if it carries no new token.

    Args:
        facts: The message.
        plan: What was done to it.
        snapshot: The configuration.
        now: Unix time in seconds.
    """
    tenant = snapshot.tenants.by_id.get(plan.tenant)
    if tenant is None or plan.reject is not None or tenant.modes.feedback is not Mode.ENFORCE:
        return None
    if not plan.actions or not snapshot.keyring.keys:
        return None
    if earlier_run(facts, tenant, snapshot, now) is not None:
        return None
    return Message(
        message_id_of(facts.host, facts.queue_id),
        now,
        tenant.id,
        facts.queue_id,
        facts.sender,
        _value(facts, MESSAGE_ID, MAX_MESSAGE_ID),
        _value(facts, tenant.campaign_header, MAX_LABEL),
        _value(facts, tenant.mail_type_header, MAX_LABEL),
        facts.recipients,
    )


def without_deleted(facts: MessageFacts, edits: Iterable[Action]) -> MessageFacts:
    """Return the facts of a message as it leaves: without the recipients that were deleted.

    Nothing was sent to these, so that nothing that comes back can be about them. Where one is left,
    the token of the whole message is about that one.

    Args:
        facts: The message as it came.
        edits: What was done to it.
    """
    deleted = {each.address for each in edits if isinstance(each, DeleteRecipient)}
    if not deleted:
        return facts
    return replace(facts, recipients=tuple(r for r in facts.recipients if r not in deleted))


def accepted_event(message: Message) -> Event:
    """Return the event of a message that was accepted."""
    key = message.id.hex()
    recipients = message.recipients
    return Event(
        accepted_id(key),
        EventKind.ACCEPTED,
        message.at,
        message.tenant,
        key,
        message.queue_id,
        message.sender,
        recipients[0] if len(recipients) == 1 else "",
        message.campaign,
        message.mail_type,
        details={"recipients": len(recipients)},
    )


def _value(facts: MessageFacts, name: str | None, limit: int) -> str:
    values = values_of(facts.headers, name) if name is not None else []
    return values[0].strip(f"{CUT} \t\r\n")[:limit] if values else ""
