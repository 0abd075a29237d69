"""Whether a sender belongs to a tenant: envelope sender and, where asked, the From: header.

Purpose: a tenant may send only from its own domains, since the domain is what identifies the
tenant at delivery and what the recipient sees.
Source: RFC 5321 §4.2.3 (553), RFC 3463 §3.8 (5.7.1).
Errors: none; a refusal is data.
Security: the refusal tells how many domains the tenant has and not which, so that a stolen login
learns nothing. A From: field that cannot be read has no domain and so belongs to nobody.
"""

from __future__ import annotations

from gatepost.domains import domain_of
from gatepost.tenants.authors import author_domains
from gatepost.tenants.model import Tenant

# A reply line holds 512 octets with code and CRLF (RFC 5321 §4.5.3.1.5), and Reject.text is kept
# below 200 characters.
_MAX_SHOWN_CHARACTERS = 120


def refusal(domain: str | None, tenant: Tenant) -> str:
    """Return the text for a sender that is not the tenant's, at most 200 characters of ASCII."""
    count = len(tenant.senders)
    mine = "the 1 sender domain" if count == 1 else f"the {count} sender domains"
    shown = domain or "this sender"
    if len(shown) > _MAX_SHOWN_CHARACTERS:
        shown = "..." + shown[-_MAX_SHOWN_CHARACTERS:]
    return f"{shown} is not among {mine} of this account"


def sender_domain_allowed(sender: str, tenant: Tenant) -> bool:
    """Tell whether an envelope sender belongs to a tenant.

    The null sender belongs to everybody: it is how bounces travel. A tenant without listed
    domains has nothing that could be checked.
    """
    if not sender or not tenant.senders:
        return True
    domain = domain_of(sender)
    return domain is not None and tenant.owns(domain)


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
    if len(values) != 1 or (domains := author_domains(values[0])) is None:
        return False, None
    for domain in domains:
        if domain is None or not tenant.owns(domain):
            return False, domain
    return True, None
