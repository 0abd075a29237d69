"""What the rest of Gatepost may ask of a store.

Purpose: one narrow interface, so that another database can take SQLite's place; both must pass
the contract tests in tests/store/contract.
Limits: rows are kept whole for 2 hours, since 10 million messages a day make a million rows an
hour; then as counts for each hour, with the 5 newest rows of each (tenant, feature, action) as
examples. Counts are kept for 400 days: a year, and a month to look back on it.
Errors: every method raises `StoreUnavailable` and nothing else.
Security: rows and examples hold envelope addresses; the file is for the service's user and group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gatepost.modes import Feature, Observation

EXAMPLES = 5
SECONDS_AN_HOUR = 3600
KEEP_ROWS_S = 2 * SECONDS_AN_HOUR
KEEP_COUNTS_S = 400 * 86400


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What one feature would have done for one tenant.

    Attributes:
        tenant: Tenant id, empty for unidentified mail.
        feature: The feature.
        action: What it would have done, such as ``reject``.
        count: How often.
        first_at: Unix time of the first in the period; of its hour, where only counts are left.
        last_at: Unix time of the last; of the end of its hour, where only counts are left.
        examples: At most `EXAMPLES`, newest first.
    """

    tenant: str
    feature: Feature
    action: str
    count: int
    first_at: float
    last_at: float
    examples: tuple[Observation, ...] = ()


class ObservationStore(Protocol):
    """Keeps what features in observe mode would have done."""

    def add(self, observations: Sequence[Observation]) -> None:
        """Store all of them or, on error, none."""

    def roll_up(self, before: float) -> int:
        """Fold rows into counts for each hour, and return how many were folded.

        Args:
            before: Unix time; rows of hours that ended by then are folded.
        """

    def prune(self, before: float) -> int:
        """Delete counts and examples of hours that ended by `before`; return how many counts."""

    def what_if(
        self, since: float, tenant: str | None = None, feature: Feature | None = None
    ) -> list[WhatIf]:
        """Return sums by tenant, feature and action, the most frequent first.

        Args:
            since: Unix time; where only counts are left, the hour that holds it counts whole.
            tenant: Only this tenant id; empty for unidentified mail, None for all.
            feature: Only this feature, or None for all.
        """

    def close(self) -> None:
        """Close the connection of the calling thread."""
