"""Rules that evidence has earned: a destination that always offered TLS must go on doing so.

Purpose: hold what ``gatepost tls promote`` wrote and an operator may have edited. A rule ends by
itself, so that evidence which nobody renews does not hold up mail for ever.
Source: EFF STARTTLS Everywhere (a list with an expiry, after which clients fall back); chasquid
docs/sec-levels.md (what was seen once may be required later).
Errors: none; the file was checked before these objects were made.
Security: a rule that has ended, or was given up since the destination dropped TLS, has no effect;
what other opinions ask for stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gatepost.tls.levels import Requirement


class Downgrade(StrEnum):
    """What becomes of a rule whose destination no longer offers TLS.

    Defer: the rule stays, and mail waits. Alert: the rule is given up, and that is told.
    """

    DEFER = "defer"
    ALERT = "alert"


@dataclass(frozen=True, slots=True)
class PromotedRule:
    """One rule.

    Attributes:
        requirement: What it asks for.
        since: Unix time at which it was made.
        expires: Unix time at which it ends.
        downgrade: What becomes of it when the destination drops TLS.
        dropped: Unix time at which that was noticed, or None.
        evidence: What it rests on, for people.
    """

    requirement: Requirement
    since: float
    expires: float
    downgrade: Downgrade = Downgrade.DEFER
    dropped: float | None = None
    evidence: str = ""

    def in_force(self, now: float) -> bool:
        """Tell whether it has any effect at a Unix time; 0, no clock, ends nothing."""
        given_up = self.dropped is not None and self.downgrade is Downgrade.ALERT
        # Deliveries of an old log are judged by the time at which they were made.
        begun = not now or now >= self.since
        return begun and now < self.expires and not given_up


@dataclass(frozen=True, slots=True)
class PromotedRules:
    """All of them.

    Attributes:
        table: Keys are A-label domains, never sub-domains: evidence is about one destination.
        configured: Whether the configuration names a file for them.
    """

    table: Mapping[str, PromotedRule] = field(default_factory=dict)
    configured: bool = False

    def find(self, domain: str, now: float) -> tuple[str, Requirement] | None:
        """Return where a rule for a domain stands and what it asks for, or None.

        Args:
            domain: Normalised name in the next-hop.
            now: Unix time in seconds.
        """
        rule = self.table.get(domain)
        if rule is None or not rule.in_force(now):
            return None
        return f"tls.promoted {domain}", rule.requirement

    def until(self, domain: str, now: float) -> float:
        """Return the Unix time until which `find` answers as it does now; may be infinite."""
        rule = self.table.get(domain)
        if rule is None or now >= rule.expires:
            return math.inf
        return rule.since if now < rule.since else rule.expires
