"""The feedback headers and the return path that a message should have.

Purpose: bring together what `gatepost.feedback` computes (Feedback-ID, tokens) with what the
message already carries, so that each header stands exactly once and a second run changes nothing.
Source: Gmail's feedback loop guidelines; RFC 5321 §4.5.5 (null return path stays null).
Errors: none.
Security: a token that the client put in is replaced, also a genuine one of another message; only
mail that demonstrably passed us before keeps its token, see `rerun`.
"""

from __future__ import annotations

from gatepost.decisions.actions import Action, ChangeSender
from gatepost.decisions.facts import CUT, MessageFacts
from gatepost.decisions.headers import drop_header, drop_occurrences, set_header, values_of
from gatepost.decisions.rerun import complaint_token, ran_before, return_path_token
from gatepost.feedback.feedback_id import format_feedback_id
from gatepost.feedback.token import Purpose, Token, day_of, message_id_of, seal_token
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import ReturnPath, Tenant

FEEDBACK_ID = "Feedback-ID"


def feedback_edits(
    facts: MessageFacts, tenant: Tenant, snapshot: Snapshot, now: float
) -> list[Action]:
    """Return the edits after which a tenant's message carries its feedback references."""
    platform = snapshot.platform
    edits: list[Action] = []
    if platform.sender_id:
        value = format_feedback_id(
            campaign=_label(facts, tenant.campaign_header),
            mail_type=_label(facts, tenant.mail_type_header),
            tenant_id=tenant.id,
            sender_id=platform.sender_id,
        )
        edits += set_header(facts.headers, FEEDBACK_ID, value)
    if not snapshot.keyring.keys:
        return edits + drop_header(facts.headers, platform.token_header)
    token = Token(
        tenant.number,
        message_id_of(facts.host, facts.queue_id),
        1 if len(facts.recipients) == 1 else 0,
        day_of(now),
    )
    again = ran_before(facts, tenant, snapshot, now)
    if not again:
        value = seal_token(token, Purpose.COMPLAINT, snapshot.keyring)
        edits += set_header(facts.headers, platform.token_header, value)
    if tenant.return_path is not ReturnPath.TOKEN or not platform.bounce_domain:
        return edits
    # The null sender stays null, and the sender of an earlier run what that run made it.
    if facts.sender and not (again and return_path_token(facts.sender, tenant, snapshot, now)):
        local = seal_token(token, Purpose.BOUNCE, snapshot.keyring)
        edits.append(ChangeSender(f"{local}@{platform.bounce_domain}"))
    return edits


def stray_feedback_edits(facts: MessageFacts, snapshot: Snapshot, now: float) -> list[Action]:
    """Return the edits that take feigned feedback references from mail of no tenant.

    Inbound mail carries the Feedback-ID of its own sender, which its DKIM signature covers; only
    one that claims our SenderId is taken out. The same goes for tokens: one of ours, in mail that
    left us and came back, is genuine and stays.
    """
    platform = snapshot.platform
    edits: list[Action] = []
    if platform.sender_id:
        # Any white space is taken off, also such as mail does not know: here a look-alike must go.
        claims = [
            index
            for index, value in enumerate(values_of(facts.headers, FEEDBACK_ID), 1)
            if value.endswith(CUT) or value.strip().rpartition(":")[2].strip() == platform.sender_id
        ]
        edits += drop_occurrences(FEEDBACK_ID, claims)
    forged = [
        index
        for index, value in enumerate(values_of(facts.headers, platform.token_header), 1)
        if complaint_token(facts, None, snapshot, now, value) is None
    ]
    return edits + drop_occurrences(platform.token_header, forged)


def _label(facts: MessageFacts, header: str | None) -> str | None:
    if header is None:
        return None
    values = values_of(facts.headers, header)
    return values[0] if values else None
