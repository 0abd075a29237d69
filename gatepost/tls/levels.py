"""The order of TLS levels and the join of requirements: the heart of "how must it travel".

Purpose: Postfix replaces one TLS policy by another and never merges two, so the merge happens
here. A `Requirement` is what one opinion (a profile, a domain rule) demands of a delivery; the
join of two demands whatever either demands.
Source: Postfix TLS_README, "Client TLS limitations"; DESIGN: ``none < may < encrypt < verify``.
Errors: none. Two requirements that no server can satisfy join to one that is
`Requirement.unsatisfiable`; the map then answers with a temporary error, never with less.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """Security level, weakest first; names are those of smtp_tls_security_level."""

    NONE = 0
    MAY = 1
    ENCRYPT = 2
    VERIFY = 3

    @property
    def keyword(self) -> str:
        """Return the word used in configuration and in Postfix's policy table."""
        return self.name.lower()


class TlsVersion(IntEnum):
    """Lowest protocol version to accept, oldest first."""

    TLSv1 = 10
    TLSv1_1 = 11
    TLSv1_2 = 12
    TLSv1_3 = 13

    @property
    def keyword(self) -> str:
        """Return Postfix's spelling, such as ``TLSv1.2``."""
        return self.name.replace("_", ".")


class Dane(IntEnum):
    """Whether TLSA records authenticate the server, least strict first.

    With ``OPPORTUNISTIC``, Postfix's level ``dane``, a host without records is sent to at level
    ``may``; with ``ONLY``, its level ``dane-only``, such a host is passed over.
    """

    OFF = 0
    OPPORTUNISTIC = 1
    ONLY = 2


@dataclass(frozen=True, slots=True)
class Requirement:
    """What one opinion demands of a delivery.

    Attributes:
        level: The lowest level allowed.
        min_version: The lowest protocol version, or None for the operator's own default.
        match: Names of which the server certificate must carry one (A-labels; a leading dot
            covers sub-domains), or None for the MX host name that was looked up.
        dane: Whether TLSA records take the place of names and trusted roots.
    """

    level: Level
    min_version: TlsVersion | None = None
    match: frozenset[str] | None = None
    dane: Dane = Dane.OFF

    @property
    def unsatisfiable(self) -> bool:
        """Tell whether two opinions named certificate names with nothing in common."""
        return self.match is not None and not self.match

    def join(self, other: Requirement) -> Requirement:
        """Return the weakest requirement that satisfies both.

        The join is commutative, associative and idempotent, so the order of opinions is
        irrelevant; tests prove it over all pairs and triples.
        """
        return Requirement(
            level=max(self.level, other.level),
            min_version=_join_versions(self.min_version, other.min_version),
            match=_join_matches(self.match, other.match),
            dane=max(self.dane, other.dane),
        )


def _join_versions(one: TlsVersion | None, two: TlsVersion | None) -> TlsVersion | None:
    return max((version for version in (one, two) if version is not None), default=None)


def _join_matches(one: frozenset[str] | None, two: frozenset[str] | None) -> frozenset[str] | None:
    if one is None:
        return two
    if two is None:
        return one
    # A certificate has to satisfy both lists. Only names in both do so for certain: ".x" against
    # "mx.x" would need the certificate to be seen, so the more specific name is kept.
    return frozenset(
        name
        for names, others in ((one, two), (two, one))
        for name in names
        if any(name == o or (o.startswith(".") and name.endswith(o)) for o in others)
    )
