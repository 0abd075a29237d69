"""The headers that ask a mailbox provider for complaint reports, in the ESP's case of RFC 9477.

Purpose: a provider that knows nothing of the platform is told where to report a complaint to, and
what to quote in it.
Source: RFC 9477 §3.1 (CFBL-Address), §3.2 (CFBL-Feedback-ID, in which white space means nothing),
§2.1.4 (third-party address: From: domain and CFBL domain sign both headers).
Format: ``CFBL-Address: fbl@<feedback domain>; report=arf`` and ``CFBL-Feedback-ID: <token>``, the
same token of purpose complaint as in the token header.
Limits: the address takes 80 characters more than the domain at the most.
Errors: none.
Security: the token is what RFC 9477 §5.3 recommends, hard to forge and of no meaning to others.
"""

from __future__ import annotations

CFBL_ADDRESS = "CFBL-Address"
CFBL_FEEDBACK_ID = "CFBL-Feedback-ID"

# Any address of the domain is read; providers should see the same one in all mail.
LOCAL_PART = "fbl"


def format_cfbl_address(feedback_domain: str) -> str:
    """Return the value of CFBL-Address."""
    return f"{LOCAL_PART}@{feedback_domain}; report=arf"


def reports_to(value: str, feedback_domain: str) -> bool:
    """Tell whether a CFBL-Address sends reports to an address of a domain, such as our own."""
    address = value.partition(";")[0].strip(" \t\r\n<>")
    return address.rpartition("@")[2].lower() == feedback_domain


def feedback_id_text(value: str) -> str:
    """Return a CFBL-Feedback-ID without its white space, as it must be compared."""
    return "".join(value.split())
