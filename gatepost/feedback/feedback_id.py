"""The Feedback-ID header by which Gmail tells a sender whose mail is marked as spam.

Purpose: one field with campaign, mail type, tenant and SenderId, so that Postmaster Tools shows the
complaint rate of each tenant and campaign.
Source: Gmail's sender guidelines on the feedback loop: up to four fields separated by colons and
counted from the right; the last, SenderId, is mandatory, 5 to 15 characters and constant; each
value is aggregated by itself, so one value must not occur in two fields.
Format: ``c<campaign>:m<mail type>:t<tenant>:<SenderId>``. The prefixes keep the three kinds apart
whatever tenants put in them. Leading empty fields are left out, inner ones stay empty.
Limits: a value is at most 48 characters; a longer one is cut and ends in a hash of the whole, so
that two long campaigns stay two. Gmail names no limit; the whole field then fits one header line.
Errors: none: a label that is unfit for aggregation is left out, and `label_problem` says why.
Security: recipient data never enters the field. A label with "@" or one that looks drawn for each
message or user is dropped, also because Gmail shows only values with many messages.
"""

from __future__ import annotations

import hashlib
import re

MAX_LABEL_CHARACTERS = 48
_HASH_CHARACTERS = 8

_PLAIN = re.compile(r"[A-Za-z0-9._-]")
_ALL_PLAIN = re.compile(rf"[A-Za-z0-9._-]{{0,{MAX_LABEL_CHARACTERS}}}")
# A UUID, a long run of hexadecimal digits or a long number is made per message or per user.
_UNIQUE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{20,}|[0-9]{12,}",
    re.IGNORECASE,
)


def label_problem(value: str) -> str | None:
    """Return why a tenant's label cannot go into Feedback-ID, or None if it can."""
    if "@" in value:
        return "it contains an address"
    if _UNIQUE.search(value):
        return "it looks different for every message, and Gmail reports only frequent values"
    return None


def encode_label(value: str) -> str:
    """Return a label in the characters that Feedback-ID can carry.

    Letters, digits and ``._-`` stay; every other octet (of UTF-8) becomes ``%XX``, the colon
    above all, since it separates fields.
    """
    text = value.strip()
    # Nearly all labels are like this, and each message has two.
    if _ALL_PLAIN.fullmatch(text):
        return text
    encoded = "".join(
        char
        if _PLAIN.match(char)
        else "".join(f"%{octet:02X}" for octet in char.encode("utf-8", "surrogateescape"))
        for char in text[: 4 * MAX_LABEL_CHARACTERS]
    )
    if len(encoded) <= MAX_LABEL_CHARACTERS and len(text) <= 4 * MAX_LABEL_CHARACTERS:
        return encoded
    digest = hashlib.blake2b(
        text.encode("utf-8", "surrogateescape"), digest_size=_HASH_CHARACTERS // 2
    ).hexdigest()
    kept = encoded[: MAX_LABEL_CHARACTERS - _HASH_CHARACTERS - 1]
    # Never leave half of a "%XX" behind.
    kept = re.sub(r"%[0-9A-F]?$", "", kept)
    return f"{kept}~{digest}"


def format_feedback_id(
    *, campaign: str | None, mail_type: str | None, tenant_id: str, sender_id: str
) -> str:
    """Return the value of the Feedback-ID header.

    Args:
        campaign: The tenant's campaign label, or None.
        mail_type: The tenant's mail type label, or None.
        tenant_id: The tenant.
        sender_id: The platform's SenderId, 5 to 15 characters.
    """
    labels = [_field("c", campaign), _field("m", mail_type)]
    # Gmail would add such a label's complaints to those of the whole platform.
    fields = ["" if label == sender_id else label for label in labels]
    fields += [f"t{tenant_id}", sender_id]
    while not fields[0]:
        del fields[0]
    return ":".join(fields)


def _field(prefix: str, value: str | None) -> str:
    # A label that was folded over two lines is the same label.
    label = " ".join((value or "").split())
    if not label or label_problem(label) is not None:
        return ""
    return prefix + encode_label(label)
