"""Warm-up: how much a new source address, or a new tenant, may send on each of its first days.

Purpose: receivers judge an address by what it sent before; one without a past is let begin small.
What is above the number of the day takes another lane until the next day.
Format: a day is a day in UTC; what counts is recipients reached, ``status=sent`` in the log, on the
day on which they were. Before the first day nothing may go this way, after the last one all may.
Source: of the schedule ``sendgrid``, the hourly limits by days of age in "IP Warmup Schedule" of
SendGrid's API reference (github.com/sendgrid/docs), times 24, for the first 30 days. ``doubling``
is arithmetic and nobody's advice: 50, and twice as much on each day.
Errors: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

DAY_S: Final = 86_400
_LANE: Final = "lane"
_TENANT: Final = "tenant"

_SENDGRID_HOURLY: Final = (
    *(20, 28, 39, 55, 77, 108, 151, 211, 295, 413),
    *(579, 810, 1_000, 1_587, 2_222, 3_111, 4_356, 6_098, 8_583, 11_953),
    *(16_734, 23_427, 32_798, 45_917, 64_284, 89_998, 125_997, 176_395, 246_953, 345_735),
)
SCHEDULES: Final[Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        "sendgrid": tuple(24 * hourly for hourly in _SENDGRID_HOURLY),
        "doubling": tuple(50 * 2**day for day in range(15)),
    }
)


def lane_key(lane: str) -> str:
    """Return the key under which what left by a lane is counted."""
    return f"{_LANE} {lane}"


def tenant_key(tenant: str) -> str:
    """Return the key under which what a tenant sent by its own lane is counted."""
    return f"{_TENANT} {tenant}"


def day_of(at: float) -> int:
    """Return the number of the day in UTC that holds a Unix time."""
    return int(at // DAY_S)


@dataclass(frozen=True, slots=True)
class Warmup:
    """One warm-up.

    Attributes:
        start: Number of its first day, see `day_of`.
        caps: Recipients on each day.
        lane: The lane for what is above.
    """

    start: int
    caps: tuple[int, ...]
    lane: str

    def cap_on(self, day: int) -> int | None:
        """Return how many recipients may be reached on a day, or None for any number."""
        if day < self.start:
            return 0
        index = day - self.start
        return self.caps[index] if index < len(self.caps) else None


@dataclass(frozen=True, slots=True)
class WarmupRules:
    """All warm-ups.

    Attributes:
        lanes: By lane.
        tenants: By tenant id.
    """

    lanes: Mapping[str, Warmup] = field(default_factory=dict)
    tenants: Mapping[str, Warmup] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self.lanes or self.tenants)

    def by_key(self) -> dict[str, Warmup]:
        """Return all of them by the key under which is counted."""
        return {
            **{lane_key(name): each for name, each in self.lanes.items()},
            **{tenant_key(name): each for name, each in self.tenants.items()},
        }

    def lane_above(self, key: str) -> str:
        """Return the lane for what is above a warm-up, by its key."""
        what, _, name = key.partition(" ")
        return (self.lanes if what == _LANE else self.tenants)[name].lane

    def keys_of(self, tenant: str, lane: str) -> tuple[str, ...]:
        """Return the keys that mail of a tenant by a lane counts for.

        Args:
            tenant: Tenant id.
            lane: The lane, which is the tenant's own for that of the tenant.
        """
        found = []
        if tenant in self.tenants:
            found.append(tenant_key(tenant))
        if lane in self.lanes:
            found.append(lane_key(lane))
        return tuple(found)


NO_WARMUP: Final = WarmupRules()
