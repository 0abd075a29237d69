"""Complaints of Microsoft's JMRP as it was until 2026: a copy of the mail, and no fields.

Purpose: reports in this form still came around the change; the new ones are ARF (see `arf`), with
``User-Agent: JMRP/1.0`` and without the recipient.
Source: none is published; the form is known from reports: a mail from staff@hotmail.com with the
subject ``complaint about message from ADDRESS`` and the message as its attachment, whose header
``X-HmXmrOriginalRecipient`` names the recipient.
Errors: none.
Security: whoever writes that header makes a mail look like this; that it acts on nothing without
proof is the business of `trust`.
"""

from __future__ import annotations

import re

from gatepost.feedback.addresses import author_domain
from gatepost.feedback.arf import recipients_in
from gatepost.feedback.mime import Part, original_of, values
from gatepost.feedback.reading import Reading
from gatepost.feedback.report import Kind

_SUBJECT = re.compile(r"\Acomplaint about message from\b", re.IGNORECASE)
_DOMAINS = ("hotmail.com", "live.com", "msn.com", "outlook.com", "microsoft.com")
_RECIPIENT = "x-hmxmroriginalrecipient"


def read_jmrp(mail: Part) -> Reading | None:
    """Return what a report in the old form says, or None if the mail is none."""
    original = original_of(mail)
    if original is None:
        return None
    domain = author_domain(mail)
    from_microsoft = any(domain == each or domain.endswith("." + each) for each in _DOMAINS)
    subject = next(iter(values(mail, "subject")), "")
    # Whoever sends may write that header: in a notice of failure it means nothing.
    if not from_microsoft or not (values(original, _RECIPIENT) or _SUBJECT.match(subject)):
        return None
    notes: list[str] = []
    recipients = recipients_in({}, original, notes)
    return Reading(Kind.COMPLAINT, "jmrp", "abuse", recipients, original, notes=tuple(notes))
