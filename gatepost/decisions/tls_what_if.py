"""What a TLS profile would have refused, by the deliveries of the past.

Purpose: an administrator sees before a profile is put into force which mail it would hold up, and
to which domains. ``report what-if`` tells what observed features would have done to messages; only
deliveries tell what the other side offered.
Errors: none.
Not handled: certificates. Opportunistic TLS does not look at them, so for a profile that verifies
the survey is asked, and where it does not know, nobody does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from gatepost.maillog.evidence import Seen, TenantDomain
from gatepost.maillog.model import TlsClass
from gatepost.tls.answer import decide_tls
from gatepost.tls.levels import Level, Requirement, TlsVersion
from gatepost.tls.operator import ASKS_NOTHING, OperatorTls
from gatepost.tls.rules import Profile, TlsRules

_VERSIONS = {version.keyword: version for version in TlsVersion}

# Whether every certificate of a domain is valid; None where nobody knows.
Verified = Callable[[str], bool | None]


class Fate(StrEnum):
    """What would have become of a delivery."""

    SENT = "sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class DomainFate:
    """What would have become of the deliveries to one domain.

    Attributes:
        domain: Recipient domain.
        sent: Deliveries in the period.
        refused: Those of them that the profile would not have let out.
        unknown: Those of which nobody can tell.
        why: What stands against them, each once.
    """

    domain: str
    sent: int = 0
    refused: int = 0
    unknown: int = 0
    why: dict[str, None] = field(default_factory=dict)


def what_if(
    rows: Iterable[TenantDomain],
    profile: Profile,
    rules: TlsRules,
    verified: Verified,
    now: float,
    operator: OperatorTls = ASKS_NOTHING,
) -> list[DomainFate]:
    """Return what would have become of deliveries, the domain with the most refused ones first.

    Args:
        rows: The deliveries.
        profile: The profile that is tried on.
        rules: The TLS part of the snapshot, which is joined to it.
        verified: What is known of certificates.
        now: Unix time in seconds, for rules that end.
        operator: What Postfix asks for itself.
    """
    found: dict[str, DomainFate] = {}
    for row in rows:
        fate = found.setdefault(row.domain, DomainFate(row.domain))
        requirement = decide_tls(profile, row.domain, rules, operator, now=now).requirement
        for seen in row.seen:
            if seen.tls is TlsClass.REFUSED:
                # It did not go out as things are.
                continue
            outcome, why = _outcome(seen, requirement, row.domain, verified)
            fate.sent += seen.deliveries
            if outcome is Fate.REFUSED:
                fate.refused += seen.deliveries
            elif outcome is Fate.UNKNOWN:
                fate.unknown += seen.deliveries
            if why:
                fate.why[why] = None
    return sorted(found.values(), key=lambda each: (-each.refused, -each.unknown, each.domain))


def _outcome(
    seen: Seen, requirement: Requirement | None, domain: str, verified: Verified
) -> tuple[Fate, str]:
    if requirement is None or requirement.level <= Level.MAY:
        return Fate.SENT, ""
    if seen.tls is TlsClass.PLAINTEXT:
        return Fate.REFUSED, "plaintext"
    if seen.tls is TlsClass.UNKNOWN:
        return Fate.UNKNOWN, "the log does not tell whether there was TLS"
    fate, why = _version(seen.version, requirement.min_version)
    if fate is Fate.REFUSED or requirement.level is Level.ENCRYPT:
        return fate, why
    certificate = _certificate(seen, requirement, domain, verified)
    return (fate, why) if certificate is None else certificate


def _certificate(
    seen: Seen, requirement: Requirement, domain: str, verified: Verified
) -> tuple[Fate, str] | None:
    """Return what the certificate makes of it, or None where that is no reason."""
    # Which names a certificate carried, no log tells.
    valid = None
    if requirement.match is None:
        valid = seen.tls is TlsClass.AUTHENTICATED or verified(domain)
    if valid is None:
        return Fate.UNKNOWN, "encrypted, and nobody knows of the certificate"
    return None if valid else (Fate.REFUSED, "a certificate that is not valid")


def _version(version: str, least: TlsVersion | None) -> tuple[Fate, str]:
    if least is None:
        return Fate.SENT, ""
    spoken = _VERSIONS.get(version)
    if spoken is None:
        return Fate.UNKNOWN, "the log does not tell the protocol version"
    if spoken < least:
        return Fate.REFUSED, f"{version}, and {least.keyword} is asked for"
    return Fate.SENT, ""
