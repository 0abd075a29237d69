"""Complaints in the Abuse Reporting Format, as RFC 5965 has it and as it comes.

Purpose: read every report that a mailbox provider sends, and tell what it means here.
Source: RFC 5965 (format), RFC 6650 (what to do with it), RFC 6591 (auth-failure), RFC 9477 (CFBL).
Format: multipart/report with report-type=feedback-report: a text, message/feedback-report, and the
message or its header. What is read without all of it: another multipart around the same parts; a
part with fields and another media type; no fields at all; no User-Agent or Version; no original, or
one with another media type.
Limits: 1,000 recipients, as for a notice of delivery.
Errors: `MalformedMessage` for more fields than `fields` takes.
Security: RFC 5965 §3: what a report says must not be taken for true. Incidents never multiply.

What the types mean:

=================  ============  ===================================================================
``abuse``          complaint     somebody does not want the mail
``spam``           complaint     not registered, and sent where ``abuse`` is meant
``fraud``          complaint     somebody took the mail for an attempt at fraud, which is worse
(absent)           complaint     the provider sends such reports for complaints only
``opt-out``        unsubscribe   of early drafts: somebody wants no more, and does not complain
``not-spam``       not-spam      the opposite of a complaint
``auth-failure``   auth-failure  RFC 6591: SPF, DKIM or DMARC failed; nobody complained
``virus``          unknown       a scanner says so, not the recipient: for a person to look at
``other``          unknown       says nothing, so nothing is done
any other          unknown       RFC 5965 §3.5: ignored
=================  ============  ===================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from gatepost.feedback.addresses import MAX_RECIPIENTS, bare_address, recipient_of
from gatepost.feedback.mime import Part, clean, field_blocks, text_of, walk
from gatepost.feedback.reading import Reading, declared, original_in
from gatepost.feedback.report import Kind, ReportedRecipient

Fields = Mapping[str, Sequence[str]]

KINDS: Final = {
    "abuse": Kind.COMPLAINT,
    "spam": Kind.COMPLAINT,
    "fraud": Kind.COMPLAINT,
    "opt-out": Kind.UNSUBSCRIBE,
    "opt-out-list": Kind.UNSUBSCRIBE,
    "not-spam": Kind.NOT_SPAM,
    "auth-failure": Kind.AUTH_FAILURE,
}
FEEDBACK_REPORT = "feedback-report"

_TYPE = re.compile(r"[a-z0-9._-]{1,40}")
_DIGITS = re.compile(r"[0-9]{1,9}")
_JMRP = re.compile(r"JMRP/", re.IGNORECASE)
# What may stand once, RFC 5965 §3.1 and §3.2.
_ONCE = (
    *("feedback-type", "user-agent", "version", "original-envelope-id", "original-mail-from"),
    *("arrival-date", "reporting-mta", "source-ip", "incidents"),
)
_RECIPIENT_FIELDS = ("original-rcpt-to", "original-recipient", "removal-recipient")
# Headers in which providers that leave the field out show the recipient.
_RECIPIENT_HEADERS = ("x-hmxmroriginalrecipient", "x-original-to", "delivered-to", "to")
_MISSING = ("feedback-type", "user-agent", "version")


def read_arf(mail: Part) -> Reading | None:
    """Return what a report in this format says, or None if the mail is none.

    Raises:
        MalformedMessage: If it has more fields than are read.
    """
    part = report_part(mail)
    if part is None and declared(mail) != FEEDBACK_REPORT:
        return None
    fields = fields_in(part)
    original = original_in(mail)
    notes = _oddities(mail, part, fields)
    feedback_type = type_in(fields)
    kind = KINDS.get(feedback_type or "abuse", Kind.UNKNOWN)
    if kind is Kind.UNKNOWN:
        notes.append(f"nothing follows from a report of type {feedback_type}")
    about_report = None
    if original is not None and _is_report(original):
        kind, about_report = Kind.UNKNOWN, kind
    return Reading(
        kind,
        "jmrp" if _JMRP.match(_first(fields, "user-agent")) else "arf",
        feedback_type,
        recipients_in(fields, original, notes),
        original,
        _first(fields, "original-envelope-id"),
        bare_address(_first(fields, "original-mail-from")),
        _incidents(fields, notes),
        tuple(notes),
        about_report,
    )


def report_part(mail: Part) -> Part | None:
    """Return the part with the fields of a report, or None."""
    parts = list(walk(mail))
    for part in parts:
        if part.type == "message/feedback-report":
            return part
    if declared(mail) == FEEDBACK_REPORT:
        for part in parts[1:]:
            if not part.parts and text_of(part).lstrip()[:13].lower() == "feedback-type":
                return part
    return None


def fields_in(part: Part | None) -> Fields:
    """Return the fields of a report; those behind an empty line belong to them too.

    Raises:
        MalformedMessage: If there are too many.
    """
    merged: dict[str, list[str]] = {}
    for block in field_blocks("" if part is None else text_of(part)):
        for name, each in block.items():
            merged.setdefault(name, []).extend(clean(value) for value in each)
    return merged


def type_in(fields: Fields) -> str:
    """Return the Feedback-Type in lower case, or an empty text."""
    found = _TYPE.match(_first(fields, "feedback-type").lower())
    return found[0] if found else ""


def recipients_in(
    fields: Fields, original: Part | None, notes: list[str]
) -> tuple[ReportedRecipient, ...]:
    """Return whom a report is about: its fields first, then the header of the original.

    Args:
        fields: The fields.
        original: What is shown of the original, or None.
        notes: Takes what was odd.
    """
    claimed = [value for name in _RECIPIENT_FIELDS for value in fields.get(name, ())]
    if not claimed and original is not None:
        claimed, source = _shown(original)
        if claimed:
            notes.append(f"the recipient was taken from {source} of the original")
    if len(claimed) > MAX_RECIPIENTS:
        notes.append(f"of {len(claimed)} recipients, {MAX_RECIPIENTS} are read")
    found = (recipient_of(value, notes) for value in claimed[:MAX_RECIPIENTS])
    # A hash and a sentence for each of a thousand recipients would tell no more.
    recipients = tuple(dict.fromkeys(found))
    notes[:] = dict.fromkeys(notes)
    return recipients


def _shown(original: Part) -> tuple[list[str], str]:
    for name in _RECIPIENT_HEADERS:
        found = [value for each, value in original.headers if each == name]
        # A To: field may name many, and then it does not tell who complained.
        if found and "," not in found[0]:
            return found[:1], "To:" if name == "to" else name
    return [], ""


def _oddities(mail: Part, part: Part | None, fields: Fields) -> list[str]:
    notes = []
    if declared(mail) != FEEDBACK_REPORT:
        notes.append("the mail is not declared as a feedback report")
    if part is None:
        return [*notes, "the report has no fields; it is taken for a complaint"]
    if part.type != "message/feedback-report":
        notes.append(f"the fields are in a part of type {part.type}")
    notes += [f"{name} is missing" for name in _MISSING if not _first(fields, name)]
    notes += [
        f"{name} stands {len(fields[name])} times" for name in _ONCE if _repeated(fields, name)
    ]
    if "arrival-date" in fields and "received-date" in fields:
        notes.append("there are Arrival-Date and Received-Date")
    return notes


def _repeated(fields: Fields, name: str) -> bool:
    return len(fields.get(name, ())) > 1


def _incidents(fields: Fields, notes: list[str]) -> int:
    value = _first(fields, "incidents")
    if not value:
        return 1
    count = int(value) if _DIGITS.fullmatch(value) else 0
    if count > 1:
        notes.append(f"{count} incidents are claimed; one complaint counts once")
    elif count < 1:
        notes.append("Incidents is no number")
    return max(count, 1)


def _is_report(original: Part) -> bool:
    return declared(original) == FEEDBACK_REPORT or report_part(original) is not None


def _first(fields: Fields, name: str) -> str:
    return next(iter(fields.get(name, ())), "")
