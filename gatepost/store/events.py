"""What may be asked of the stream of events, and of its counts.

Purpose: keep each event once, in the order in which it was stored, and count it in the same
transaction; webhooks, files, rates and the complaint ladder all read from here.
Format: a position is a whole number that grows with every event that is stored and is never given
out twice. Who has read up to a position misses nothing by going on after it: one process writes at
a time, so an event never appears before one that is there already.
Limits: an event is kept for as long as the caller of `prune` says, the ids of `LASTING` kinds for
`KEEP_IDS_S` longer: a token, and so a report about a message, is good for 60 days, and a report
that comes again after its event has gone must not count again. Counts are kept for `KEEP_COUNTS_S`.
Of each tenant and day, the first `MAX_CAMPAIGNS` campaigns and `MAX_MAIL_TYPES` mail types are
counted by name and all others as `OTHER`, since tenants choose these names. A text is cut at
`MAX_TEXT` characters.
Errors: every method raises `StoreUnavailable` and nothing else.
Security: rows hold envelope addresses, counts and ids do not.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.token import MAX_AGE_DAYS

SECONDS_A_DAY = 86_400
SECONDS_AN_HOUR = 3_600

# What acts on addresses and rates, and must not do so twice.
LASTING = frozenset({EventKind.COMPLAINED, EventKind.UNSUBSCRIBED, EventKind.BOUNCED})
# Clocks of two nodes may stand on either side of midnight.
KEEP_IDS_S = (MAX_AGE_DAYS + 2) * SECONDS_A_DAY
KEEP_COUNTS_S = 400 * SECONDS_A_DAY
MAX_CAMPAIGNS = 1_000
MAX_MAIL_TYPES = 100
MAX_TEXT = 1_000
OTHER = "(other)"
# A page reads so many rows at the most where it has to pass over events that nobody asked for.
SCAN_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event and its place in the stream."""

    position: int
    event: Event


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the stream.

    Attributes:
        events: Those that were asked for, in order.
        position: Up to which the stream was read: where to go on.
    """

    events: tuple[StoredEvent, ...]
    position: int


@dataclass(frozen=True, slots=True)
class EventCount:
    """How many events of an hour are alike.

    Attributes:
        hour: Hours since 1970-01-01T00:00Z at which they happened.
        tenant: Tenant id, or empty for the platform's own.
        campaign: The tenant's label, `OTHER`, or empty.
        mail_type: Likewise.
        provider: Who runs the recipient's mail, or empty.
        kind: What happened.
        bounce_class: ``class`` of the details of a bounce or deferral, or empty.
        count: How many.
        severity: ``severity`` of the details of a bounce or deferral (`report.Severity`), or empty.
    """

    hour: int
    tenant: str
    campaign: str
    mail_type: str
    provider: str
    kind: EventKind
    bounce_class: str
    count: int
    severity: str = ""


class EventStore(Protocol):
    """Keeps events."""

    def add(self, events: Sequence[Event]) -> list[str]:
        """Store and count the events that are not there yet, all of them or none.

        Returns:
            The ids of those that were new, in order.
        """

    def find(self, event_id: str) -> Event | None:
        """Return the event of an id, or None if there is none or it has been deleted."""

    def after(
        self,
        position: int,
        limit: int,
        tenant: str | None = None,
        kinds: Collection[EventKind] | None = None,
    ) -> list[StoredEvent]:
        """Return the first events after a position.

        Args:
            position: Where to begin; 0 is before the first.
            limit: At most so many.
            tenant: Only those of this one, or None for all and the platform's own.
            kinds: Only these, or None for all.
        """

    def page(
        self,
        position: int,
        limit: int,
        tenant: str | None = None,
        kinds: Collection[EventKind] | None = None,
        until: int | None = None,
    ) -> Page:
        """Return events after a position, and how far the stream was read to find them.

        Args:
            position: As of `after`, as are the other three.
            until: The last position to return, or None for the end of the stream.
        """

    def end(self) -> int:
        """Return the position of the last event that was ever stored, 0 if there was none."""

    def position_at(self, since: float) -> int:
        """Return the position before the first event that happened at a Unix time or later."""

    def last(
        self, limit: int, tenant: str | None = None, kinds: Collection[EventKind] | None = None
    ) -> int:
        """Return the position before the last events, at most `limit`; others as of `after`."""

    def count(
        self,
        begin: int,
        end: int,
        tenant: str | None = None,
        kinds: Collection[EventKind] | None = None,
    ) -> int:
        """Return how many events stand behind a position and not behind another; see `after`."""

    def counts(self, since: float, until: float, tenant: str | None = None) -> list[EventCount]:
        """Return the counts of the hours that a span touches, by hour.

        Args:
            since: Unix time in seconds at which the span begins.
            until: Unix time in seconds before which it ends.
            tenant: Only that one, or None for all and the platform's own.
        """

    def prune(self, before: float) -> int:
        """Delete events that happened before a Unix time, and what outlived them long enough.

        Ids of `LASTING` kinds go `KEEP_IDS_S` later, counts `KEEP_COUNTS_S` later.

        Returns:
            How many events were deleted.
        """

    def close(self) -> None:
        """Close the connection of the calling thread."""
