"""The tag header: set once where it is right, gone where it is not.

Purpose: everything behind us (filters, log analysis, the recipient's support desk) may trust the
tag, because no message keeps one that it has no right to.
Source: RFC 5322 §2.2 (field names in any case, folding), §3.6.8 (unknown fields).
Errors: none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gatepost.tenants.model import PlatformLogin, Tenant, TenantIndex

# White space as RFC 5322 has it, folding included, and no other that Python knows.
_BLANKS = re.compile(r"[ \t\r\n]+")
_WORD = re.compile(r"[a-z0-9-]+")


@dataclass(frozen=True, slots=True)
class NamedTenant:
    """What the tag headers of a platform login come to.

    Attributes:
        tenant: The tenant named, or None.
        problem: Why the message must be refused, or None.
    """

    tenant: Tenant | None = None
    problem: str | None = None


def named_tenant(
    values: Sequence[str], login: PlatformLogin, index: TenantIndex, header: str
) -> NamedTenant:
    """Return the tenant that a platform login names in the tag header.

    An unknown tenant and a forbidden one are refused in the same words, so that a login cannot
    find out which tenants exist.
    """
    names = {_BLANKS.sub(" ", value).strip(" ") for value in values}
    if not names:
        return NamedTenant()
    if len(names) > 1:
        return NamedTenant(problem=f"{header} names more than one tenant")
    name = names.pop()
    tenant = index.by_id.get(name)
    if tenant is None or not login.may(name):
        return NamedTenant(problem=f"this login may not send for the tenant named in {header}")
    return NamedTenant(tenant)


def words_of(value: str) -> list[str]:
    """Return every word of a tag that somebody could take for the id of a tenant.

    Whoever reads tags may be less strict than we are: look at the first word, or not at the case.
    """
    return _WORD.findall(value.lower())
