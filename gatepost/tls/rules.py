"""Profiles and domain rules: what the configuration demands for a destination.

Purpose: hold the TLS part of a snapshot. A `Profile` gives every destination a requirement, with
exceptions by domain; the rules for everyone (``tls.domains``) speak for some domains only.
Errors: none; the configuration was checked before these objects were made.
Not handled: what destinations publish themselves is not configured; it joins in `answer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gatepost.domains import parents
from gatepost.modes import Mode
from gatepost.tls.levels import Level, Requirement
from gatepost.tls.promoted import PromotedRules


class OnFailure(StrEnum):
    """What becomes of mail whose requirement a destination cannot meet."""

    BOUNCE = "bounce"
    DEFER = "defer"


@dataclass(frozen=True, slots=True)
class DomainRules:
    """Requirements by destination domain.

    Attributes:
        table: Keys are A-label domains; a leading dot covers sub-domains, not the domain itself.
    """

    table: Mapping[str, Requirement] = field(default_factory=dict)

    def find(self, domain: str) -> tuple[str, Requirement] | None:
        """Return the most specific rule for a domain with its key, or None."""
        if not self.table:
            return None
        for key in (domain, *parents(domain)):
            if (found := self.table.get(key)) is not None:
                return key, found
        return None


@dataclass(frozen=True, slots=True)
class Profile:
    """A named set of TLS rules that tenants point at.

    Attributes:
        name: ``[a-z][a-z0-9]{0,15}``.
        base: The requirement for every destination without an exception.
        exceptions: Requirements that replace `base` for some destinations.
        on_failure: Whether unmet requirements bounce at once or are retried; it belongs to the
            whole profile because Postfix's status filter is set per delivery service and sees no
            destination.
        fail_closed: Whether mail waits where TLSA records or MTA-STS policy cannot be looked up;
            None for: where TLS is required.
        at_rcpt: Whether recipients are refused at RCPT TO at destinations that are known not to
            meet the requirement.
    """

    name: str
    base: Requirement
    exceptions: DomainRules = field(default_factory=DomainRules)
    on_failure: OnFailure = OnFailure.DEFER
    fail_closed: bool | None = None
    at_rcpt: Mode = Mode.OBSERVE

    @property
    def asks(self) -> bool:
        """Tell whether it asks for anything anywhere."""
        return self.base.level > Level.MAY or bool(self.exceptions.table)


@dataclass(frozen=True, slots=True)
class TlsRules:
    """The TLS part of a snapshot.

    Attributes:
        profiles: Profiles by name.
        everyone: The rules for everyone.
        without_dane: Whether answers may stand in the place of a level that they cannot be joined
            with.
        dane: Whether TLSA records of destinations are looked up.
        mta_sts: Whether MTA-STS policies of destinations are.
        promoted: The rules that evidence has earned.
    """

    profiles: Mapping[str, Profile]
    everyone: DomainRules = field(default_factory=DomainRules)
    without_dane: bool = False
    dane: bool = False
    mta_sts: bool = False
    promoted: PromotedRules = field(default_factory=PromotedRules)

    @property
    def for_everyone(self) -> bool:
        """Tell whether mail of no profile may meet a rule."""
        return bool(self.everyone.table) or self.discovers or self.promoted.configured

    @property
    def discovers(self) -> bool:
        """Tell whether anything is found out about destinations."""
        return self.dane or self.mta_sts
