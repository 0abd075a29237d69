"""The TLS answer for one next-hop: all opinions joined, each named.

Purpose: what the map ``tls-<profile>`` says, and why. Opinions are the profile (its exception for
the destination, or its base), the rules for everyone, and where one of these speaks, the operator's
own level, which Postfix would otherwise forget.
Source: Postfix postconf(5) smtp_tls_policy_maps: the key is the next-hop verbatim, "[host]",
"[host]:port" or "host:port" included, in any case; then parents with a leading dot.
Errors: none. Opinions that exclude each other give an answer with `conflict`, for which the map
reports a temporary error: mail waits, and never goes out weaker than either asks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage
from gatepost.tls.levels import Level, Requirement
from gatepost.tls.operator import ASKS_NOTHING, OperatorTls
from gatepost.tls.rules import Profile, TlsRules

# A port is a number or a name of services(5), which may hold hyphens.
_NEXTHOP = re.compile(r"(?:\[(?P<host>[^\[\]]+)\]|(?P<domain>[^\[\]:]+))(?::[\w-]+)?")


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one source demands.

    Attributes:
        source: Where it comes from, such as ``profile private`` or ``tls.domains .gov.example``.
        requirement: What it demands.
    """

    source: str
    requirement: Requirement


@dataclass(frozen=True, slots=True)
class TlsAnswer:
    """What a delivery needs.

    Attributes:
        requirement: The join of all opinions, or None where nobody has one.
        opinions: Every opinion that was joined.
    """

    requirement: Requirement | None
    opinions: tuple[Opinion, ...] = ()

    @property
    def conflict(self) -> bool:
        """Tell whether two opinions exclude each other."""
        return self.requirement is not None and self.requirement.unsatisfiable


NO_OPINION = TlsAnswer(None)


def nexthop_domain(nexthop: str) -> str | None:
    """Return the normalised name in a next-hop, or None for an address literal or nonsense."""
    found = _NEXTHOP.fullmatch(nexthop)
    if found is None:
        return None
    try:
        normal = normalise_domain(found["host"] or found["domain"])
    except MalformedMessage:
        return None
    # "[192.0.2.1]" would pass as four labels.
    return None if normal.rpartition(".")[2].isdigit() else normal


def decide_tls(
    profile: Profile | None,
    nexthop: str,
    rules: TlsRules,
    operator: OperatorTls = ASKS_NOTHING,
) -> TlsAnswer:
    """Return the joined answer for a next-hop.

    Args:
        profile: The profile that delivers, or None for mail of no profile, to which only the
            rules for everyone apply.
        nexthop: The map key as Postfix sent it.
        rules: The TLS part of the snapshot.
        operator: What Postfix itself asks for.
    """
    # Postfix walks up to ".parent" keys when the name itself was not found. Rules for sub-domains
    # were already found with the name, so a parent key can only mean that there is no opinion.
    if nexthop.startswith("."):
        return NO_OPINION
    domain = nexthop_domain(nexthop)
    opinions = []
    if profile is not None:
        found = profile.exceptions.find(domain) if domain else None
        if found is not None:
            opinions.append(Opinion(f"profile {profile.name}, domain {found[0]}", found[1]))
        elif profile.base.level > Level.MAY:
            opinions.append(Opinion(f"profile {profile.name}", profile.base))
    if domain and (rule := rules.everyone.find(domain)) is not None:
        opinions.append(Opinion(f"tls.domains {rule[0]}", rule[1]))
    if not opinions:
        return NO_OPINION
    requirement = _join(opinions)
    own = operator.requirement(domain)
    if own is None:
        return TlsAnswer(requirement, tuple(opinions))
    if requirement.level <= Level.MAY and (profile is None or profile.base.level <= Level.MAY):
        # What asks for nothing needs no answer: the operator's own level holds, and so do the
        # exceptions that the operator makes from it. In a service of a stricter profile, no
        # answer would mean the profile's level.
        return NO_OPINION
    opinions.append(Opinion(f"smtp_tls_security_level {operator.level}", own))
    return TlsAnswer(_join(opinions), tuple(opinions))


def _join(opinions: list[Opinion]) -> Requirement:
    requirement = opinions[0].requirement
    for opinion in opinions[1:]:
        requirement = requirement.join(opinion.requirement)
    return requirement
