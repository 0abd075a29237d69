"""Profiles and domain rules: what the configuration demands for a destination.

Purpose: hold the TLS part of a snapshot. A `Profile` gives every destination a requirement, with
exceptions by domain; the rules for everyone (``tls.domains``) speak for some domains only.
Errors: none; the configuration was checked before these objects were made.
Not handled: DANE, MTA-STS and promoted history are further opinions and join in `answer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gatepost.domains import parents
from gatepost.tls.levels import Requirement


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
    """

    name: str
    base: Requirement
    exceptions: DomainRules = field(default_factory=DomainRules)
    on_failure: OnFailure = OnFailure.DEFER


@dataclass(frozen=True, slots=True)
class TlsRules:
    """The TLS part of a snapshot.

    Attributes:
        profiles: Profiles by name.
        everyone: The rules for everyone.
        without_dane: Whether answers may stand in the place of a level that they cannot be joined
            with.
    """

    profiles: Mapping[str, Profile]
    everyone: DomainRules = field(default_factory=DomainRules)
    without_dane: bool = False
