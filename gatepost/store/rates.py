"""What the ladder asks of the counts of events: sums over a window, tenant by tenant.

Purpose: `events.EventStore.counts` gives every hour and label, which is much to read once a minute;
these are sums of it.
Errors: every method raises `StoreUnavailable` and nothing else.
"""

from __future__ import annotations

from typing import Protocol

from gatepost.store.events import EventCount


class RateStore(Protocol):
    """Sums of counts."""

    def sums(self, since: float, until: float, tenant: str) -> list[EventCount]:
        """Return the sums of a tenant by provider, kind, class and severity.

        Args:
            since: Unix time in seconds at which a full hour begins.
            until: Unix time in seconds; the hour that holds it counts.
            tenant: Tenant id.
        """

    def tenants(self, since: float) -> set[str]:
        """Return the tenants that have complaints or bounces since a Unix time."""

    def reporters(self, since: float) -> set[str]:
        """Return the providers from which complaints came since a Unix time."""

    def close(self) -> None:
        """Close the connection of the calling thread."""
