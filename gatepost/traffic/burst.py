"""Burst: when a tenant is moved to another lane, and when it comes back.

Purpose: the words of the configuration, and the rules of hysteresis; `rate` measures.
Format: a tenant goes to its burst lane when more than `Burst.above` comes, or more than
`Burst.backlog` of its messages are outstanding. It comes back when for `Burst.stay_s` without a
break neither was above the lower thresholds.
Errors: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gatepost.traffic.quota import Limit, Unit

STAY_S: Final = 60


@dataclass(frozen=True, slots=True)
class Burst:
    """When one tenant is moved.

    Attributes:
        lane: The lane to which it is moved.
        above: More than this takes it there, or None if no rate does.
        backlog: More outstanding messages than this do, or None if none do.
        below: As long as more than this comes, it stays there; None without `above`.
        backlog_below: As long as more messages than this are outstanding, it stays there; None
            for as many as were outstanding when it was moved, or as `above` lets pass in a minute.
        stay_s: For so many seconds both must hold before it comes back.
    """

    lane: str
    above: Limit | None = None
    backlog: int | None = None
    below: Limit | None = None
    backlog_below: int | None = None
    stay_s: int = STAY_S


@dataclass(frozen=True, slots=True)
class Cap:
    """How much of a tenant's mail may be outstanding.

    Attributes:
        count: So many.
        unit: Of these.
    """

    count: int
    unit: Unit = Unit.MESSAGES

    def __str__(self) -> str:
        """Return it as it is written in the configuration."""
        return f"{self.count}" if self.unit is Unit.MESSAGES else f"{self.count} {self.unit}"


@dataclass(frozen=True, slots=True)
class BurstRules:
    """When tenants are moved, and how much of their mail may be outstanding.

    Attributes:
        burst: For tenants without rules of their own, or None.
        cap: Likewise.
        bursts: Rules of tenants, by tenant id.
        caps: Likewise.
    """

    burst: Burst | None = None
    cap: Cap | None = None
    bursts: Mapping[str, Burst] = field(default_factory=dict)
    caps: Mapping[str, Cap] = field(default_factory=dict)

    def burst_of(self, tenant_id: str) -> Burst | None:
        """Return when a tenant is moved, or None if it never is."""
        return self.bursts.get(tenant_id, self.burst)

    def cap_of(self, tenant_id: str) -> Cap | None:
        """Return how much of a tenant's mail may be outstanding, or None for any number."""
        return self.caps.get(tenant_id, self.cap)

    @property
    def any(self) -> bool:
        """Tell whether there is any rule."""
        return bool(self.burst or self.cap or self.bursts or self.caps)
