"""Unsubscriptions by mail: to the address in List-Unsubscribe, and those of Apple's mail programs.

Source: RFC 2369 §3.2: any mail to the address in the mailto form unsubscribes. Apple's programs
mark theirs with ``X-Apple-Unsubscribe: true``.
Errors: none.
Security: only a token makes a mail act; without one the mail is shown as what it wants to be.
Notices of failure, which have a null sender, and automatic replies unsubscribe nobody.
"""

from __future__ import annotations

import re

from gatepost.feedback.addresses import bare_address
from gatepost.feedback.auto_reply import is_reply_to
from gatepost.feedback.mime import Part, values
from gatepost.feedback.reading import Reading
from gatepost.feedback.report import Kind, ReportedRecipient

_SUBJECT = re.compile(r"\W*(?:list[- ]?)?unsubscribe\W*", re.IGNORECASE)


def read_unsubscribe(mail: Part, *, null_sender: bool, to_token: bool) -> Reading | None:
    """Return what a mail is that asks for an unsubscription, or None.

    Args:
        mail: The mail.
        null_sender: Whether its envelope sender is known to be null.
        to_token: Whether it came to an address with an unsubscribe token of ours.
    """
    if null_sender or is_reply_to(mail):
        return None
    apple = _first(mail, "x-apple-unsubscribe").lower() == "true"
    by_subject = _SUBJECT.fullmatch(_first(mail, "subject")[:100]) is not None
    if not (apple or to_token or by_subject):
        return None
    sender = bare_address(next((value for name, value in mail.headers if name == "from"), ""))
    return Reading(
        Kind.UNSUBSCRIBE,
        "apple-unsubscribe" if apple else "list-unsubscribe",
        recipients=(ReportedRecipient(sender),) if sender else (),
        notes=() if to_token else ("it came to no address of ours with a token",),
    )


def _first(mail: Part, name: str) -> str:
    return next(iter(values(mail, name)), "")
