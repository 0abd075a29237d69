"""What came back, one row for each mail and recipient of it: the book of the intake.

Purpose: tell what was made of each report (``gatepost feedback received``), know one that has been
acted on before, and count how many a reporter sends.
Limits: a row that acted is kept for `KEEP_ACTED_S`, longer than its token could be used again;
others for ``feedback.keep_reports``, and while fewer than `MAX_ROWS` rows came after them: whoever
sends nonsense must not fill the database. A text has at most `MAX_TEXT` characters.
Errors: every method raises `StoreUnavailable` and nothing else.
Security: rows hold no addresses, but the domain of who reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gatepost.feedback.token import MAX_AGE_DAYS

MAX_TEXT = 200
MAX_ROWS = 1_000_000
KEEP_ACTED_S = (MAX_AGE_DAYS + 2) * 86400


@dataclass(frozen=True, slots=True)
class Received:
    """One report that was dealt with.

    Attributes:
        id: Of the mail in the intake, and the number of its recipient.
        at: Unix time at which the mail came.
        kind: Value of `report.Kind`.
        format: As `Report.format`.
        reporter: Domain that reported it, or empty.
        result: Value of `trust.Result`.
        reason: Why.
        tenant: Tenant id, or empty.
        message: Message id of the token in hex, or empty.
        events: Ids of the events that it gave.
    """

    id: str
    at: float
    kind: str
    format: str
    reporter: str
    result: str
    reason: str = ""
    tenant: str = ""
    message: str = ""
    events: tuple[str, ...] = ()


class ReceivedStore(Protocol):
    """Keeps what was made of reports."""

    def add(self, report: Received) -> None:
        """Store a report, in the place of the one of its id."""

    def acted_on(self, message: str, event_id: str, but: str) -> bool:
        """Tell whether another report has given this event.

        Args:
            message: Message id in hex.
            event_id: The event.
            but: Id of a report that does not count.
        """

    def count(self, reporter: str, tenant: str, since: float) -> int:
        """Return how many reports of a reporter about a tenant gave events since a Unix time."""

    def latest(
        self, limit: int, kind: str | None = None, result: str | None = None
    ) -> list[Received]:
        """Return the latest reports, newest first.

        Args:
            limit: At most so many.
            kind: Only of this kind, or None for all.
            result: Only with this result, or None for all.
        """

    def prune(self, before: float, acted_before: float) -> int:
        """Delete what came before a Unix time, and what acted before another; return how many.

        Of what did not act, all but the latest `MAX_ROWS` rows go, whenever they came.
        """

    def close(self) -> None:
        """Close the connection of the calling thread."""
