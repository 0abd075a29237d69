"""Quotas: how many messages or recipients may pass within a span of time, and for whom.

Purpose: the words of the configuration and of `counters`; what a quota means is here.
Format: ``100/minute``, ``5000/hour recipients``, ``300/15m``. A window slides: at no time are more
than the count accepted within any span of the window's length, wherever it begins. It moves on in
`STEPS` steps, so what was counted stays counted for one window and at most one step more: a minute
opens up to 2 s late, an hour 2 minutes, a day 48 minutes, and none ever opens early.
    Fixed windows would let through twice the count around each full hour, and let everybody loose
at the same second. A leaky bucket (GCRA) keeps one number, but lets through the count as a burst
and as much again within the same window. A list of all times would be exact to the moment, and as
long as the quota is high.
Limits: counts up to 2^53 - 1, which every engine holds exactly; windows of 1 s to 31 days.
Errors: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

STEPS: Final = 30
MAX_COUNT: Final = 2**53 - 1
MAX_WINDOW_S: Final = 31 * 86_400

NAMED_WINDOWS: Final = MappingProxyType(
    {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
)
_NAMES: Final = {seconds: name for name, seconds in NAMED_WINDOWS.items()}
_CAMPAIGN: Final = "campaign "
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


class Unit(StrEnum):
    """What is counted."""

    MESSAGES = "messages"
    RECIPIENTS = "recipients"


class OverQuota(StrEnum):
    """What becomes of a message that is over a quota."""

    DEFER = "defer"
    HOLD = "hold"


def window_name(seconds: int) -> str:
    """Return a window as it is written: ``minute``, ``15m``."""
    if seconds in _NAMES:
        return _NAMES[seconds]
    unit, size = next(each for each in _UNITS if seconds % each[1] == 0)
    return f"{seconds // size}{unit}"


@dataclass(frozen=True, slots=True)
class Limit:
    """One quota.

    Attributes:
        count: So many, 1 to `MAX_COUNT`.
        window_s: Within so many seconds.
        unit: Of these.
    """

    count: int
    window_s: int
    unit: Unit = Unit.MESSAGES

    def __str__(self) -> str:
        """Return it as it is written in the configuration."""
        unit = "" if self.unit is Unit.MESSAGES else f" {self.unit}"
        return f"{self.count}/{window_name(self.window_s)}{unit}"

    @property
    def words(self) -> str:
        """Return it as a client is told: ``100 messages per minute``."""
        name = window_name(self.window_s)
        return f"{self.count} {self.unit} {'per' if self.window_s in _NAMES else 'in'} {name}"


@dataclass(frozen=True, slots=True)
class TenantQuota:
    """The quotas of one tenant.

    Attributes:
        limits: Of all its mail.
        per_login: Of the mail of each of its logins.
        per_campaign: Of the mail of each of its campaigns.
        group: Whose quota it shares, or None.
        exempt: Whether its mail is counted nowhere.
        over: What becomes of a message that is over any of them, the platform's included.
    """

    limits: tuple[Limit, ...] = ()
    per_login: tuple[Limit, ...] = ()
    per_campaign: tuple[Limit, ...] = ()
    group: str | None = None
    exempt: bool = False
    over: OverQuota = OverQuota.DEFER


NO_QUOTA: Final = TenantQuota()


@dataclass(frozen=True, slots=True)
class QuotaRules:
    """All quotas.

    Attributes:
        tenants: Those of tenants, by tenant id; a tenant without any is not in it.
        platform: Of the mail of all tenants together.
        groups: Of the mail of all tenants of a group, by its name.
    """

    tenants: Mapping[str, TenantQuota] = field(default_factory=dict)
    platform: tuple[Limit, ...] = ()
    groups: Mapping[str, tuple[Limit, ...]] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        """Tell whether there is any quota at all."""
        return bool(self.tenants or self.platform or self.groups)

    def of(self, tenant: str) -> TenantQuota:
        """Return the quotas of a tenant."""
        return self.tenants.get(tenant, NO_QUOTA)


@dataclass(frozen=True, slots=True)
class Claim:
    """One counter that a message counts for, with its limit.

    Attributes:
        name: Whose quota it is: ``tenant acme``, ``login acme a@acme.example``,
            ``campaign acme spring``, ``group resellers`` or ``platform``.
        limit: The quota.
        key: What counters are found by; follows from the others.
    """

    name: str
    limit: Limit
    key: tuple[str, str, int] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Make the key once, as it is looked up for each recipient."""
        key = (self.name, self.limit.unit.value, self.limit.window_s)
        object.__setattr__(self, "key", key)


def campaign_name(tenant: str, campaign: str) -> str:
    """Return the name of a campaign's counters."""
    return f"{_CAMPAIGN}{tenant} {campaign}"


def family_of(name: str) -> str:
    """Return the name of the counter that all of a kind share when there are too many of them.

    It is empty for those that the configuration names, and so bounds.
    """
    if not name.startswith(_CAMPAIGN):
        return ""
    return f"campaigns {name[len(_CAMPAIGN) :].partition(' ')[0]}"


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why there is no room.

    Attributes:
        claim: The counter that opens last of those without room.
        used: What counts at present, with what is reserved.
        opens_in_s: Seconds until there is room, or None if the limit is too small for ever.
    """

    claim: Claim
    used: int
    opens_in_s: float | None


@dataclass(frozen=True, slots=True)
class Usage:
    """How far a quota is used.

    Attributes:
        claim: The counter.
        used: What counts at present.
        reserved: What messages under way may still take.
        opens_in_s: Seconds until there is room for one more; 0.0 if there is.
    """

    claim: Claim
    used: int
    reserved: int
    opens_in_s: float
