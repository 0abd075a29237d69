"""Addresses as reports write them: bare, in brackets, typed, redacted or hashed.

Source: RFC 5322 §3.4, RFC 3464 §2.1.2 (address types), RFC 6590 and what providers do instead.
Limits: 320 characters of an address, which is 64 and 255 and the "@" between them.
Errors: none; what is no address is an empty text.
Security: an address in a report is a claim, and is compared with what was sent before it counts.
"""

from __future__ import annotations

import re

from gatepost.feedback.mime import Part, clean
from gatepost.feedback.report import ReportedRecipient
from gatepost.tenants.authors import author_domains

MAX_ADDRESS_CHARACTERS = 320
MAX_RECIPIENTS = 1_000

_TYPED = re.compile(r"[A-Za-z0-9-]{1,20}[ \t]*;")
_IN_BRACKETS = re.compile(r"<([^<>]*)>")
# A local part begins where a word does, so that a long word is passed over once.
_ADDRESS = re.compile(
    r'(?:"(?:[^"\\]|\\.){1,64}"|(?<![^\s@<>"(),;:\[\]])[^\s@<>"(),;:\[\]]{1,320})'
    r'@[^\s@<>"(),;:]{1,255}'
)
_HIDDEN = re.compile(
    r".*(?:redacted|\*).*|(?:hidden|removed|masked|undisclosed|not.?disclosed)|anonym.*|x{3,}[x._-]*",
    re.IGNORECASE | re.DOTALL,
)
# MD5, SHA-1 and SHA-256.
_HASHED = re.compile(r"[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}", re.IGNORECASE)


def bare_address(value: str) -> str:
    """Return the address in a field, or an empty text.

    Args:
        value: The field, as ``rfc822; a@b.example``, ``A <a@b.example>`` or ``a@b.example``.
    """
    text = clean(value[: 4 * MAX_ADDRESS_CHARACTERS])
    typed = _TYPED.match(text)
    text = text[typed.end() :] if typed else text
    bracketed = _IN_BRACKETS.findall(text)
    found = _ADDRESS.search(bracketed[-1] if bracketed else text)
    address = found[0].rstrip(".") if found else ""
    fits = len(address) <= MAX_ADDRESS_CHARACTERS and not address.endswith("@")
    return address if fits else ""


def recipient_of(value: str, notes: list[str]) -> ReportedRecipient:
    """Return a recipient as a report names it, without the address where that is none.

    Args:
        value: The field.
        notes: Takes a sentence if the address was redacted or hashed.
    """
    address = bare_address(value)
    local, _, domain = address.rpartition("@")
    if _HASHED.fullmatch(local):
        notes.append(f"the recipient is given as a hash at {domain}")
        return ReportedRecipient("")
    if not address or _HIDDEN.fullmatch(local) or domain.lower().endswith(".invalid"):
        notes.append("the recipient was redacted")
        return ReportedRecipient("")
    return ReportedRecipient(address)


def author_domain(mail: Part) -> str:
    """Return the domain of the author of a mail as an A-label, or an empty text.

    A mail with several authors, or with a From: field that programs read differently, has none.
    """
    fields = [value for name, value in mail.headers if name == "from"]
    domains = author_domains(fields[0]) if len(fields) == 1 else None
    found = set(domains or ())
    return (found.pop() or "") if len(found) == 1 else ""
