"""Burst: when a tenant is moved to another lane, and when it comes back.

Purpose: the words of the configuration, and the rules of hysteresis; `rate` measures.
Format: a tenant goes to its burst lane when more than `Burst.above` comes, or more than
`Burst.backlog` of its messages are outstanding. It comes back when for `Burst.stay_s` without a
break neither was above the lower thresholds. A backlog that nobody knows is above none.
Limits: a few hundred octets for each tenant that has sent within the last minutes; tenants are
those of the configuration, so no client can make any up.
Errors: none. All times but `Moved.since` are of a clock that does not step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from gatepost.tenants.model import Tenant
from gatepost.traffic.quota import Limit, Unit
from gatepost.traffic.rate import Meter
from gatepost.traffic.state import Backlog, Moved

STAY_S: Final = 60
# Tenants that are looked at in one call for whether they can be forgotten.
SWEEP: Final = 1_000


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
        bursts: Rules of tenants, by tenant id; None for a tenant that is never moved.
        caps: Likewise; None for a tenant to which `cap` does not apply.
        any: Whether there is any rule; follows from the others.
        asks_for_backlog: Whether any rule needs to know what is outstanding, likewise.
    """

    burst: Burst | None = None
    cap: Cap | None = None
    bursts: Mapping[str, Burst | None] = field(default_factory=dict)
    caps: Mapping[str, Cap | None] = field(default_factory=dict)
    any: bool = field(init=False, compare=False)
    asks_for_backlog: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Look once what rules there are: each recipient asks, and tenants may be very many."""
        found = self.burst or self.cap or self.bursts or self.caps
        object.__setattr__(self, "any", bool(found))
        bursts = (self.burst, *self.bursts.values())
        by_backlog = any(each is not None and each.backlog is not None for each in bursts)
        asks = by_backlog or self.cap is not None or any(self.caps.values())
        object.__setattr__(self, "asks_for_backlog", asks)

    def burst_of(self, tenant_id: str) -> Burst | None:
        """Return when a tenant is moved, or None if it never is."""
        return self.bursts.get(tenant_id, self.burst)

    def cap_of(self, tenant_id: str) -> Cap | None:
        """Return how much of a tenant's mail may be outstanding, or None for any number."""
        return self.caps.get(tenant_id, self.cap)


def burst_pairs(rules: BurstRules, tenants: Mapping[str, Tenant]) -> set[tuple[str, str]]:
    """Return the (lane, profile) pairs that moved mail needs."""
    if not (rules.burst or rules.bursts):
        return set()
    return {
        (burst.lane, tenant.profile)
        for id_, tenant in tenants.items()
        if (burst := rules.burst_of(id_)) is not None
    }


@dataclass(frozen=True, slots=True)
class LaneChange:
    """A tenant was moved, or has come back.

    Attributes:
        tenant: Tenant id.
        moved: Since when and why it is in burst, or None if it is no longer.
        why: The reason in words.
    """

    tenant: str
    moved: Moved | None
    why: str


class _Tenant:
    """What is known of one tenant.

    Attributes:
        burst: By which rules.
        meter: How fast it sends, or None if no rate matters.
        by_message: Whether that is counted in messages.
        moved: Since when and why it is in burst, or None.
        over_at: When it was last above a threshold that keeps it there.
        base: How many messages were outstanding when it was moved.
    """

    __slots__ = ("base", "burst", "by_message", "meter", "moved", "over_at")

    def __init__(self, burst: Burst, now: float) -> None:
        self.moved: Moved | None = None
        self.over_at = now
        self.base = 0
        self.burst = burst
        self._measure(now)

    def follow(self, burst: Burst, now: float) -> None:
        """Go by other rules."""
        before, self.burst = self.burst, burst
        # A reload makes all rules anew: what was measured stays as long as the rates are the same.
        if (before.above, before.below) != (burst.above, burst.below):
            self._measure(now)

    def _measure(self, now: float) -> None:
        burst, above = self.burst, self.burst.above
        self.by_message = above is None or above.unit is Unit.MESSAGES
        self.meter = None if above is None else Meter(above, burst.below or above, now)

    def stays(self, backlog: Backlog | None) -> bool:
        """Tell whether what is outstanding keeps it in burst."""
        return backlog is not None and backlog.messages > enough(self.burst, self.base)


def enough(burst: Burst, base: int) -> int:
    """Return up to how many outstanding messages let a tenant come back.

    Args:
        burst: Its rules.
        base: How many were outstanding when it was moved.
    """
    if burst.backlog_below is not None:
        return burst.backlog_below
    above = burst.above
    return base if above is None else max(base, above.count * 60 // above.window_s)


class BurstBook:
    """Who is in burst."""

    def __init__(self) -> None:
        self._tenants: dict[str, _Tenant] = {}
        self._moved: dict[str, _Tenant] = {}
        self._sweep: list[str] = []

    def in_burst(self, tenant_id: str) -> Moved | None:
        """Return since when and why a tenant is in burst, or None if it is not."""
        found = self._moved.get(tenant_id)
        return None if found is None else found.moved

    def __len__(self) -> int:
        """Return how many tenants are in burst."""
        return len(self._moved)

    @property
    def watched(self) -> int:
        """How many tenants are remembered."""
        return len(self._tenants)

    def count(
        self, tenant_id: str, burst: Burst, messages: int, recipients: int, now: float
    ) -> str | None:
        """Take note of mail, and return why the tenant has to be moved, or None if it has not.

        Args:
            tenant_id: Whose mail it is.
            burst: The tenant's rules.
            messages: So many messages have come.
            recipients: With so many recipients.
            now: The time in seconds.
        """
        known = self._tenants.get(tenant_id)
        if known is None or known.burst is not burst:
            known = self._follow(tenant_id, burst, now)
        meter = known.meter
        if meter is None:
            return None
        amount = messages if known.by_message else recipients
        if meter.add(amount, now):
            known.over_at = now
            if known.moved is None:
                return f"more than {burst.above}"
        elif known.moved is not None and meter.above_low:
            known.over_at = now
        return None

    def move(self, tenant_id: str, burst: Burst, moved: Moved, base: int, now: float) -> LaneChange:
        """Move a tenant.

        Args:
            tenant_id: The tenant.
            burst: Its rules.
            moved: Since when, by the clock on the wall, and why.
            base: How many of its messages are outstanding.
            now: The time in seconds.
        """
        known = self._tenants.get(tenant_id)
        if known is None or known.burst is not burst:
            known = self._follow(tenant_id, burst, now)
        known.moved, known.over_at, known.base = moved, now, base
        self._moved[tenant_id] = known
        return LaneChange(tenant_id, moved, moved.why)

    def look(
        self,
        rules: BurstRules,
        backlog: Callable[[str], Backlog | None],
        large: Iterable[str],
        now: float,
        wall: float,
    ) -> list[LaneChange]:
        """Return who is to be moved for its backlog, and who comes back.

        Args:
            rules: The configuration.
            backlog: Returns what is outstanding of a tenant.
            large: Tenants with a backlog.
            now: The time in seconds.
            wall: Unix time in seconds.
        """
        changes = []
        for tenant_id in large:
            burst = rules.burst_of(tenant_id)
            if burst is None or burst.backlog is None or tenant_id in self._moved:
                continue
            found = backlog(tenant_id)
            if found is not None and found.messages > burst.backlog:
                why = f"{found.messages} messages outstanding, more than {burst.backlog}"
                moved = Moved(wall, why)
                changes.append(self.move(tenant_id, burst, moved, found.messages, now))
        changes += [
            LaneChange(tenant_id, None, why)
            for tenant_id, known in list(self._moved.items())
            if (why := self._back(tenant_id, known, rules, backlog, now))
        ]
        self._forget(now)
        return changes

    def leave(self, keeps: Callable[[str], bool]) -> list[LaneChange]:
        """Let those come back who cannot be moved any more, and return them.

        Args:
            keeps: Tells whether a tenant is there and lanes are not off for it.
        """
        gone = [tenant_id for tenant_id in self._moved if not keeps(tenant_id)]
        for tenant_id in gone:
            self._moved.pop(tenant_id).moved = None
        return [LaneChange(each, None, "it is gone, or lanes are off for it") for each in gone]

    def kept(self) -> dict[str, tuple[float, str, int]]:
        """Return who is in burst, for `restore`: since when, why, and from which backlog."""
        return {
            tenant_id: (known.moved.since, known.moved.why, known.base)
            for tenant_id, known in list(self._moved.items())
            if known.moved is not None
        }

    def restore(
        self, rules: BurstRules, kept: Mapping[str, tuple[float, str, int]], now: float
    ) -> None:
        """Take up who was in burst before a restart; the time that they stay begins anew."""
        for tenant_id, (since, why, base) in kept.items():
            burst = rules.burst_of(tenant_id)
            if burst is not None and tenant_id not in self._moved:
                self.move(tenant_id, burst, Moved(since, why), base, now)

    def _back(
        self,
        tenant_id: str,
        known: _Tenant,
        rules: BurstRules,
        backlog: Callable[[str], Backlog | None],
        now: float,
    ) -> str:
        """Let a tenant come back if it is time, and return why; empty if it is not."""
        burst = rules.burst_of(tenant_id)
        if burst is None:
            why = "it has no burst lane any more"
        else:
            if burst is not known.burst:
                known.follow(burst, now)
            if known.stays(backlog(tenant_id)) or now < known.over_at:
                known.over_at = now
            if now - known.over_at < burst.stay_s:
                return ""
            why = f"below its thresholds for {burst.stay_s} s"
        known.moved = None
        del self._moved[tenant_id]
        return why

    def _follow(self, tenant_id: str, burst: Burst, now: float) -> _Tenant:
        known = self._tenants.get(tenant_id)
        if known is None:
            known = self._tenants[tenant_id] = _Tenant(burst, now)
        else:
            known.follow(burst, now)
        return known

    def _forget(self, now: float) -> None:
        """Forget tenants that do not send, a part of them at a time."""
        if not self._sweep:
            self._sweep = list(self._tenants)
        for tenant_id in self._sweep[-SWEEP:]:
            known = self._tenants.get(tenant_id)
            if known is None or known.moved is not None:
                continue
            if known.meter is None or known.meter.idle(now):
                del self._tenants[tenant_id]
        del self._sweep[-SWEEP:]
