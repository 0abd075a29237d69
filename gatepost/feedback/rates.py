"""Rates of complaints, bounces and unsubscriptions, with what chance may make of them.

Purpose: three complaints about 1,000 messages are 0.3 %, and yet prove no more than 0.1 %; so each
rate comes with its 95 % interval, and whoever acts looks at its lower end.
Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
Format: a complaint is a share of deliveries to providers that report, or that have reported about
anybody in the period; a bounce, of deliveries and final failures together, so that a list of dead
addresses has a rate, too; an unsubscription, of all deliveries.
Limits: complaints are counted when they come in, not when the mail was sent: after a large mailing
they trail behind by some days. Counts are by the hour.
Errors: none.
Not handled: Gmail, which does not report messages, see `reporting` and `postmaster`. A complaint
from a provider that nobody knows is taken against all deliveries except Gmail's.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from gatepost.feedback.events import EventKind
from gatepost.feedback.report import Severity
from gatepost.feedback.reporting import SHARES_ONLY

# The 97.5th percentile of the normal distribution, for 95 % between both ends.
_Z = 1.959964

UNCLASSIFIED = "unclassified"


class By(StrEnum):
    """What to tell apart."""

    TENANT = "tenant"
    CAMPAIGN = "campaign"
    MAIL_TYPE = "mail-type"
    PROVIDER = "provider"


class Counted(Protocol):
    """How many events are alike; `store.events.EventCount` is one."""

    @property
    def tenant(self) -> str:
        """Tenant id, or empty."""

    @property
    def campaign(self) -> str:
        """The tenant's label, or empty."""

    @property
    def mail_type(self) -> str:
        """Likewise."""

    @property
    def provider(self) -> str:
        """Who runs the recipient's mail, or empty."""

    @property
    def kind(self) -> EventKind:
        """What happened."""

    @property
    def bounce_class(self) -> str:
        """Class of a bounce, or empty."""

    @property
    def severity(self) -> str:
        """`Severity` of a bounce, or empty."""

    @property
    def count(self) -> int:
        """How many."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A share, and between which ends the true one lies with a probability of 95 %.

    Attributes:
        count: How many.
        of: Of how many.
        low: Lower end, from 0 to 1.
        high: Upper end.
    """

    count: int
    of: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """Return the share, 0 of nothing."""
        return self.count / self.of if self.of else 0.0


@dataclass(frozen=True, slots=True)
class Rates:
    """What became of the mail of one tenant, campaign, mail type or provider.

    Attributes:
        tenant: Tenant id; empty where rates are by provider, and for mail of nobody.
        name: The campaign, mail type or provider; empty where rates are by tenant.
        delivered: Deliveries.
        reporting: Those of them that complaints are a share of.
        complained: Complaints.
        unsubscribed: Unsubscriptions.
        bounced: Final failures by class.
        hard: Those of them that prove an address bad.
    """

    tenant: str
    name: str = ""
    delivered: int = 0
    reporting: int = 0
    complained: int = 0
    unsubscribed: int = 0
    bounced: Mapping[str, int] = field(default_factory=dict)
    hard: int = 0

    @property
    def failed(self) -> int:
        """Return the number of final failures."""
        return sum(self.bounced.values())

    @property
    def complaints(self) -> Measured:
        """Return the rate of complaints."""
        return measure(self.complained, self.reporting)

    @property
    def bounces(self) -> Measured:
        """Return the rate of hard bounces."""
        return measure(self.hard, self.delivered + self.failed)

    @property
    def unsubscriptions(self) -> Measured:
        """Return the rate of unsubscriptions."""
        return measure(self.unsubscribed, self.delivered)


def wilson(count: int, of: int) -> tuple[float, float]:
    """Return both ends of the interval for a share.

    Args:
        count: How many, at most `of`.
        of: Of how many; of none, nothing is known.
    """
    if not of:
        return 0.0, 1.0
    share = count / of
    weight = _Z * _Z / of
    centre = (share + weight / 2) / (1 + weight)
    reach = _Z * math.sqrt(share * (1 - share) / of + weight / (4 * of)) / (1 + weight)
    # Of none and of all, the end is exact, and rounding must not put it beyond.
    low = 0.0 if count == 0 else max(0.0, centre - reach)
    high = 1.0 if count == of else min(1.0, centre + reach)
    return low, high


def measure(count: int, of: int) -> Measured:
    """Return a share with its interval; more than all counts as all."""
    of = max(of, count)
    return Measured(count, of, *wilson(count, of))


def providers_that_report(counts: Iterable[Counted], known: Collection[str]) -> frozenset[str]:
    """Return the providers that report: those known to, and those that have about anybody.

    Args:
        counts: Of all tenants in the period.
        known: See `reporting.listed`.
    """
    seen = {
        each.provider
        for each in counts
        if each.kind is EventKind.COMPLAINED and each.provider and each.count > 0
    }
    return frozenset(seen.union(known)) - SHARES_ONLY


def rates_of(
    counts: Iterable[Counted], by: By, reporting: Collection[str], tenant: str | None = None
) -> list[Rates]:
    """Return the rates, those with the most mail first.

    Args:
        counts: Of all tenants in the period.
        by: What to tell apart; campaigns and mail types are those of one tenant each.
        reporting: See `providers_that_report`.
        tenant: Only this one, or None for all.
    """
    sums: dict[tuple[str, str], _Sum] = {}
    for each in counts:
        if tenant is not None and each.tenant != tenant:
            continue
        sums.setdefault(_key(each, by), _Sum()).add(each, reporting)
    found = [total.rates(*key) for key, total in sums.items() if total.any]
    return sorted(found, key=lambda each: (-each.delivered - each.failed, each.tenant, each.name))


def _key(count: Counted, by: By) -> tuple[str, str]:
    match by:
        case By.TENANT:
            return count.tenant, ""
        case By.CAMPAIGN:
            return count.tenant, count.campaign
        case By.MAIL_TYPE:
            return count.tenant, count.mail_type
        case By.PROVIDER:
            return "", count.provider


@dataclass(slots=True)
class _Sum:
    any: bool = False
    delivered: int = 0
    reporting: int = 0
    reachable: int = 0
    complained: int = 0
    unplaced: int = 0
    unsubscribed: int = 0
    hard: int = 0
    bounced: dict[str, int] = field(default_factory=dict)

    def add(self, each: Counted, reporting: Collection[str]) -> None:
        """Add what is counted."""
        number = each.count
        match each.kind:
            case EventKind.DELIVERED:
                self.delivered += number
                self.reporting += number * (each.provider in reporting)
                self.reachable += number * (each.provider not in SHARES_ONLY)
            case EventKind.BOUNCED:
                name = each.bounce_class or UNCLASSIFIED
                self.bounced[name] = self.bounced.get(name, 0) + number
                self.hard += number * (each.severity == Severity.HARD.value)
            case EventKind.COMPLAINED:
                self.complained += number
                self.unplaced += number * (not each.provider)
            case EventKind.UNSUBSCRIBED:
                self.unsubscribed += number
            case _:
                return
        self.any = True

    def rates(self, tenant: str, name: str) -> Rates:
        """Return the sum."""
        return Rates(
            tenant,
            name,
            self.delivered,
            # Who complained may be anywhere but at Gmail, which does not tell us.
            self.reachable if self.unplaced else self.reporting,
            self.complained,
            self.unsubscribed,
            dict(sorted(self.bounced.items())),
            self.hard,
        )
