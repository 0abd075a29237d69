"""What Gmail's Postmaster Tools said: shares of complaints, day by day.

Purpose: Gmail tells of no message; it tells, for each value in Feedback-ID that was frequent enough
on a day, which share of its mail was reported as spam.
Format: a label is the value as it stands in Feedback-ID, such as ``tacme`` or ``cSpring``; empty
for all mail that a domain has signed. A day is counted from 1970-01-01.
Limits: kept for 400 days.
Errors: every method raises `StoreUnavailable` and nothing else.
Not handled: how many messages a share is of, which Gmail does not say. `estimate` takes the
deliveries of that day in UTC; Gmail counts those that reached an inbox, which are fewer, so the
true interval is somewhat wider than the one that is computed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from gatepost.feedback.rates import Measured

KEEP_DAYS = 400
TENANT = "t"


@dataclass(frozen=True, slots=True)
class GmailDay:
    """What Gmail said of one label on one day.

    Attributes:
        day: Days since 1970-01-01.
        domain: The domain that was asked for.
        label: The value in Feedback-ID, or empty for all mail of the domain.
        share: Share of its mail that was reported, from 0 to 1.
    """

    day: int
    domain: str
    label: str
    share: float


class GmailStore(Protocol):
    """Keeps the shares."""

    def add(self, days: Iterable[GmailDay]) -> None:
        """Store what was said; what was said before of the same day and label is replaced."""

    def shares(self, since: float, until: float) -> list[GmailDay]:
        """Return what was said of the days that begin between two Unix times, by day."""

    def estimate(self, tenant: str, since: float, until: float) -> Measured | None:
        """Return the complaints at Gmail about a tenant, or None if nothing is known.

        Where two domains signed the same mail, the worse share counts.

        Args:
            tenant: Tenant id.
            since: Unix time; days that began before do not count.
            until: Unix time; days that begin then or later do not count.
        """

    def tenants(self, since: float) -> set[str]:
        """Return the tenants of which anything is known since a Unix time."""

    def last_day(self, domain: str) -> int | None:
        """Return the last day of which anything is known of a domain, or None."""

    def prune(self, now: float) -> int:
        """Delete what is older than `KEEP_DAYS`; return how much."""

    def close(self) -> None:
        """Close the connection of the calling thread."""
