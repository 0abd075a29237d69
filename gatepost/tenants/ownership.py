"""Whether a sender belongs to a tenant: envelope sender and, where asked, the From: header.

Purpose: a tenant may send only from its own domains, since the domain is what identifies the
tenant at delivery and what the recipient sees.
Source: RFC 5321 §4.2.3 (553), RFC 3463 §3.8 (5.7.1), RFC 5322 §3.6.2 (From:).
Limits: at most 8 KiB of a From: field are read, and 100 addresses; more is refused, not guessed.
Errors: none; a refusal is data.
Security: the refusal tells how many domains the tenant has and not which, so that a stolen login
learns nothing. A From: field that cannot be read has no domain and so belongs to nobody.
"""

from __future__ import annotations

import re

from gatepost.domains import domain_of
from gatepost.tenants.model import Tenant

MAX_FROM_CHARACTERS = 8192
MAX_FROM_ADDRESSES = 100

# Quoted strings and comments may hold "@" and "," that separate nothing. Both patterns are linear:
# neither has a repetition inside a repetition that could match the same text in two ways.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_COMMENT = re.compile(r"\((?:[^()\\]|\\.)*\)", re.DOTALL)
_ANGLE = re.compile(r"<([^<>]*)>")
_MAX_COMMENT_DEPTH = 10


def refusal(domain: str | None, tenant: Tenant) -> str:
    """Return the text for a sender that is not the tenant's."""
    count = len(tenant.senders)
    mine = "the 1 sender domain" if count == 1 else f"the {count} sender domains"
    return f"{domain or 'this sender'} is not among {mine} of this account"


def sender_domain_allowed(sender: str, tenant: Tenant) -> bool:
    """Tell whether an envelope sender belongs to a tenant.

    The null sender belongs to everybody: it is how bounces travel. A tenant without listed
    domains has nothing that could be checked.
    """
    if not sender or not tenant.senders:
        return True
    domain = domain_of(sender)
    return domain is not None and tenant.owns(domain)


def from_domains(value: str) -> list[str | None] | None:
    """Return the domain of each address in a From: field, None where an address has none.

    Returns:
        A list with one entry per address, or None if the field is too long or unreadable.
    """
    if len(value) > MAX_FROM_CHARACTERS:
        return None
    plain = _QUOTED.sub("q", value)
    for _ in range(_MAX_COMMENT_DEPTH):
        plain, changed = _COMMENT.subn(" ", plain)
        if not changed:
            break
    # What is left of a quote, comment or bracket was never closed: another program may read the
    # addresses differently, so we do not read them at all.
    if any(mark in plain for mark in '"()'):
        return None
    parts = plain.split(",", MAX_FROM_ADDRESSES)
    if len(parts) > MAX_FROM_ADDRESSES:
        return None
    domains = []
    for part in parts:
        angles = _ANGLE.findall(part)
        if len(angles) > 1 or (not angles and ("<" in part or ">" in part)):
            return None
        domains.append(domain_of((angles[0] if angles else part).strip()))
    return domains


def from_allowed(values: list[str], tenant: Tenant) -> tuple[bool, str | None]:
    """Tell whether all From: addresses belong to a tenant.

    Args:
        values: The value of each From: field; RFC 5322 allows exactly one.
        tenant: The tenant.

    Returns:
        Whether they do, and the first domain that does not (None if it could not be read).
    """
    if not tenant.senders:
        return True, None
    if len(values) != 1 or (domains := from_domains(values[0])) is None:
        return False, None
    for domain in domains:
        if domain is None or not tenant.owns(domain):
            return False, domain
    return True, None
