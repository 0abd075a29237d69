"""What one parser makes of a mail, before our token is looked for.

Purpose: each parser knows one format; `read` asks them in order, and makes a `Report` of the first
answer.
Errors: none.
Security: everything in it is a claim of whoever sent the mail.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gatepost.errors import MalformedMessage
from gatepost.feedback.mime import Part, original_of, parse_mime, walk
from gatepost.feedback.report import Kind, ReportedRecipient

_HEADER = re.compile(rb"(?:[!-9;-~]{1,76}:[^\n]*\n(?:[ \t][^\n]*\n)*){3}")
_USUAL = re.compile(
    rb"^(?:Received|Return-Path|From|Message-ID|Subject|Date):", re.IGNORECASE | re.MULTILINE
)
_LOOKED_AT = 16 * 1024


@dataclass(frozen=True, slots=True)
class Reading:
    """What a parser found.

    Attributes:
        kind: What the mail is.
        format: As `Report.format`.
        feedback_type: Feedback-Type in lower case, or empty.
        recipients: Whom it is about.
        original: The message that it is about, or what is shown of it.
        envelope_id: What it claims to be the ENVID of the original, or empty.
        mail_from: What it claims to be the envelope sender of the original, or empty.
        incidents: What it claims as the number of incidents.
        notes: What was odd.
        about_report: For a report about a report, which is ignored, what it would be otherwise:
            a message that bears a token of ours is no report of ours, whatever form it has.
    """

    kind: Kind
    format: str
    feedback_type: str = ""
    recipients: tuple[ReportedRecipient, ...] = ()
    original: Part | None = None
    envelope_id: str = ""
    mail_from: str = ""
    incidents: int = 1
    notes: tuple[str, ...] = ()
    about_report: Kind | None = None


def declared(mail: Part) -> str:
    """Return the report-type of a multipart/report in lower case, or an empty text."""
    if mail.type != "multipart/report":
        return ""
    return mail.params.get("report-type", "").strip().lower()


def original_in(mail: Part) -> Part | None:
    """Return the message that a report carries, also where its part has another media type."""
    found = original_of(mail)
    if found is not None:
        return found
    for part in list(walk(mail))[1:]:
        if part.parts or part.type == "message/feedback-report":
            continue
        beginning = part.body[:_LOOKED_AT].lstrip(b"\r\n")
        if _HEADER.match(beginning) and _USUAL.search(beginning):
            try:
                return parse_mime(part.body)
            except MalformedMessage:
                return None
    return None
