"""The feedback headers and the return path that a message should have.

Purpose: bring together what `gatepost.feedback` computes (Feedback-ID, tokens, CFBL,
List-Unsubscribe) with what the message already carries, so that each header stands exactly once, no
signature is broken, and a second run changes nothing.
Source: Gmail's feedback loop guidelines; RFC 9477; RFC 8058; RFC 5321 §4.5.5 (null return path
stays null); RFC 3461 §4.4 (ENVID, which comes back in a bounce whatever became of its address).
Errors: none.
Security: a token that the client put in is replaced, also a genuine one of another message; only
mail that demonstrably passed us before keeps its token, see `rerun`. What a DKIM signature covers
is left, see `covered`, but for what speaks in our name and is not true: a Feedback-ID that ends in
our SenderId, for Gmail would count its complaints for whomever it names; and a token of ours that
is another message's, whose sender would be accused, or whose complaint would hide all others.
Not handled: a message with several recipients gets no List-Unsubscribe, since its address must tell
who unsubscribes (RFC 8058 §3.1), and a milter cannot write a header for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gatepost.decisions.actions import ChangeSender, Notice
from gatepost.decisions.covered import Fields
from gatepost.decisions.facts import CUT, MessageFacts
from gatepost.decisions.headers import BLANKS, values_of
from gatepost.decisions.rerun import (
    complaint_token,
    earlier_run,
    genuine_token,
    return_path_token,
)
from gatepost.feedback.cfbl import (
    CFBL_ADDRESS,
    CFBL_FEEDBACK_ID,
    feedback_id_text,
    format_cfbl_address,
    reports_to,
)
from gatepost.feedback.feedback_id import format_feedback_id
from gatepost.feedback.list_unsubscribe import (
    LIST_UNSUBSCRIBE,
    LIST_UNSUBSCRIBE_POST,
    ONE_CLICK,
    fold_mail_type,
    format_list_unsubscribe,
    texts_in_our_name,
)
from gatepost.feedback.signed import DKIM_SIGNATURE
from gatepost.feedback.token import Purpose, Token, day_of, message_id_of, seal_token
from gatepost.snapshot import Platform, Snapshot
from gatepost.tenants.model import ReturnPath, Tenant

FEEDBACK_ID = "Feedback-ID"
SEVERAL = "several-recipients"


@dataclass(slots=True)
class _Subject:
    """A tenant's message, and the token that stands for it; not frozen, as that takes longer.

    Attributes:
        again: Whether the token is that of an earlier run.
    """

    facts: MessageFacts
    tenant: Tenant
    snapshot: Snapshot
    now: float
    token: Token
    again: bool

    def seal(self, purpose: Purpose) -> str:
        """Return the token for a purpose."""
        return seal_token(self.token, purpose, self.snapshot.keyring)

    def is_copied(self, value: str) -> bool:
        """Tell whether a reference is a token of ours that stands for another message."""
        text = feedback_id_text(value)
        found = genuine_token(text, Purpose.COMPLAINT, None, self.snapshot, self.now)
        return found is not None and found.message != self.token.message


def header_names(platform: Platform) -> set[str]:
    """Return the names of the header fields that decisions about feedback read."""
    names = {FEEDBACK_ID, platform.token_header, DKIM_SIGNATURE}
    if platform.feedback_domain is not None:
        names |= {CFBL_ADDRESS, CFBL_FEEDBACK_ID}
    if platform.unsubscribe_url is not None:
        names |= {LIST_UNSUBSCRIBE, LIST_UNSUBSCRIBE_POST}
    return names


def feedback_edits(
    facts: MessageFacts,
    tenant: Tenant,
    snapshot: Snapshot,
    now: float,
    covered: Mapping[str, str] | None = None,
) -> Fields:
    """Return the edits after which a tenant's message carries its feedback references.

    Args:
        facts: The message.
        tenant: Whose it is.
        snapshot: The configuration.
        now: Unix time in seconds.
        covered: What signatures of the message cover, or None to look.
    """
    platform = snapshot.platform
    fields = Fields(facts.headers, covered)
    if platform.sender_id:
        _set_feedback_id(fields, facts, tenant, platform)
    if not snapshot.keyring.keys:
        fields.drop(platform.token_header)
        return fields
    earlier = earlier_run(facts, tenant, snapshot, now)
    token = earlier or Token(
        tenant.number,
        message_id_of(facts.host, facts.queue_id),
        1 if len(facts.recipients) == 1 else 0,
        day_of(now),
    )
    subject = _Subject(facts, tenant, snapshot, now, token, earlier is not None)
    _set_references(fields, subject)
    if platform.unsubscribe_url is not None:
        _set_list_unsubscribe(fields, subject, platform.unsubscribe_url)
    _set_return_path(fields, subject)
    return fields


def stray_feedback_edits(facts: MessageFacts, snapshot: Snapshot, now: float) -> Fields:
    """Return the edits that take feigned feedback references from mail of no tenant.

    Inbound mail carries the Feedback-ID of its own sender; only one that claims our SenderId is
    taken out. The same goes for tokens, for CFBL-Address that names our domain beside no genuine
    token, and for List-Unsubscribe with an address of ours that unsubscribes nobody. A genuine one,
    in mail that left us and came back, stays; so does whatever a signature covers: forwarded mail
    has no other proof of where it comes from.
    """
    platform = snapshot.platform
    fields = Fields(facts.headers)
    if platform.sender_id:
        _drop(fields, FEEDBACK_ID, [_claims(v, platform) for v in fields.values(FEEDBACK_ID)])
    tokens = fields.values(platform.token_header)
    genuine = [complaint_token(facts, None, snapshot, now, value) is not None for value in tokens]
    _drop(fields, platform.token_header, [not each for each in genuine])
    if platform.feedback_domain is not None:
        _drop_stray_cfbl(fields, platform.feedback_domain, snapshot, now)
    if platform.unsubscribe_url is not None:
        url, domain = platform.unsubscribe_url, platform.feedback_domain
        _drop(
            fields,
            LIST_UNSUBSCRIBE,
            [
                any(
                    genuine_token(text, Purpose.UNSUBSCRIBE, None, snapshot, now) is None
                    for text in texts_in_our_name(value, url, domain)
                )
                for value in fields.values(LIST_UNSUBSCRIBE)
            ],
        )
    return fields


def _set_feedback_id(
    fields: Fields, facts: MessageFacts, tenant: Tenant, platform: Platform
) -> None:
    value = format_feedback_id(
        campaign=_label(facts, tenant.campaign_header),
        mail_type=_label(facts, tenant.mail_type_header),
        tenant_id=tenant.id,
        sender_id=platform.sender_id,
    )
    fields.set(FEEDBACK_ID, value, lambda present: _claims(present, platform))


def _set_references(fields: Fields, subject: _Subject) -> None:
    """Set the token header, and the CFBL headers, which quote the same token."""
    platform = subject.snapshot.platform
    if subject.again:
        # As it stands: another key may sign by now.
        reference = fields.values(platform.token_header)[0].strip(BLANKS)
    else:
        reference = subject.seal(Purpose.COMPLAINT)
        fields.set(platform.token_header, reference, subject.is_copied)
    domain = platform.feedback_domain
    if domain is None or not subject.tenant.cfbl:
        return
    present = fields.values(CFBL_FEEDBACK_ID)
    if len(present) == 1 and feedback_id_text(present[0]) == reference:
        # However it was folded, it is right.
        reference = present[0].strip(BLANKS)
    fields.set_both(
        (CFBL_ADDRESS, format_cfbl_address(domain)),
        (CFBL_FEEDBACK_ID, reference),
        subject.is_copied,
    )


def _set_list_unsubscribe(fields: Fields, subject: _Subject, url: str) -> None:
    """Set List-Unsubscribe where its type of mail needs one and has none.

    One that was copied from another message of ours would unsubscribe somebody else, and goes.
    """
    facts, tenant, platform = subject.facts, subject.tenant, subject.snapshot.platform
    present = fields.values(LIST_UNSUBSCRIBE)
    stale = [_is_stale(value, url, subject) for value in present]
    if not all(stale):
        _drop(fields, LIST_UNSUBSCRIBE, stale)
        return
    label = _label(facts, tenant.mail_type_header) if tenant.unsubscribe_types else None
    due = label is not None and fold_mail_type(label) in tenant.unsubscribe_types
    if due and subject.token.recipient:
        value = format_list_unsubscribe(
            subject.seal(Purpose.UNSUBSCRIBE), url, platform.feedback_domain
        )
        fields.set_both((LIST_UNSUBSCRIBE, value), (LIST_UNSUBSCRIBE_POST, ONE_CLICK))
        return
    _drop(fields, LIST_UNSUBSCRIBE, stale)
    if due:
        text = (
            f"{LIST_UNSUBSCRIBE} was not added, since the message has several recipients and its "
            "address must tell who unsubscribes; send each recipient a message"
        )
        fields.notices.append(Notice(SEVERAL, LIST_UNSUBSCRIBE, text))


def _is_stale(value: str, url: str, subject: _Subject) -> bool:
    """Tell whether a List-Unsubscribe is ours and not of this message."""

    def is_other(text: str) -> bool:
        token = genuine_token(
            text, Purpose.UNSUBSCRIBE, subject.tenant, subject.snapshot, subject.now
        )
        return token is None or token.message != subject.token.message

    domain = subject.snapshot.platform.feedback_domain
    return any(map(is_other, texts_in_our_name(value, url, domain)))


def _set_return_path(fields: Fields, subject: _Subject) -> None:
    facts, tenant, snapshot = subject.facts, subject.tenant, subject.snapshot
    domain = snapshot.platform.bounce_domain
    if tenant.return_path is not ReturnPath.TOKEN or not domain or not facts.sender:
        # The null sender stays null.
        return
    if subject.again and return_path_token(facts.sender, tenant, snapshot, subject.now):
        return
    local = subject.seal(Purpose.BOUNCE)
    if facts.sender != (address := f"{local}@{domain}"):
        fields.edits.append(ChangeSender(address, envid=local))


def _drop_stray_cfbl(fields: Fields, domain: str, snapshot: Snapshot, now: float) -> None:
    tokens = [
        genuine_token(feedback_id_text(value), Purpose.COMPLAINT, None, snapshot, now)
        for value in fields.values(CFBL_FEEDBACK_ID)
    ]
    if not any(tokens):
        ours = [reports_to(value, domain) for value in fields.values(CFBL_ADDRESS)]
        _drop(fields, CFBL_ADDRESS, ours)


def _drop(fields: Fields, name: str, gone: Sequence[bool]) -> None:
    """Drop those occurrences of a field for which the flag is set."""
    if any(gone):
        fields.drop(name, [number for number, each in enumerate(gone, 1) if each])


def _claims(value: str, platform: Platform) -> bool:
    """Tell whether a Feedback-ID claims to be of this platform.

    Any white space is taken off, also such as mail does not know: here a look-alike must go.
    """
    return value.endswith(CUT) or value.strip().rpartition(":")[2].strip() == platform.sender_id


def _label(facts: MessageFacts, header: str | None) -> str | None:
    if header is None:
        return None
    values = values_of(facts.headers, header)
    return values[0] if values else None
