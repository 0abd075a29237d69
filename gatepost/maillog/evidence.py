"""What the rest of Gatepost may ask of the deliveries that were seen.

Purpose: the interface between the log and whoever reasons from it: ``tls share``, ``tls promote``,
``report what-if`` for TLS. Another database can take SQLite's place behind it.
Format: a *domain* is the recipient's, as lower-case A-labels; a *relay* is the host name that
smtp(8) delivered to; a *provider* is the relay's registrable domain (``google.com`` for
``aspmx.l.google.com``), by the public suffix list. A tenant id is empty for mail of no tenant and
`UNKNOWN_TENANT` where the sender's line was not seen. Days are days in UTC.
Limits: deliveries are kept whole for `KEEP_ROWS_S`, then as counts for each day, for
`KEEP_DAYS_S`; deliveries that went out weaker than asked are kept whole as long as the counts, at
most `KEEP_WEAKER` of them.
Errors: every method raises `StoreUnavailable` and nothing else.

How to use it::

    with closing(open_existing(open_deliveries, settings)) as store:
        store.destinations(since, until)             # for each domain and relay: what was seen
        store.destinations(since, until, "a.example")
        store.tenant_domains(since, until, "acme")   # for each of a tenant's destinations

"With profile private, 14 of 51,203 messages of acme would have been refused: these domains" is::

    rows = store.tenant_domains(since, until, "acme")
    total = sum(row.counts.sent for row in rows)
    refused = [row for row in rows if not ...row.seen meets the profile's requirement...]

Where only counts are left, a period begins and ends with whole days: the day that holds `since`
counts whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from gatepost.maillog.model import TlsClass

SECONDS_A_DAY = 86400
KEEP_ROWS_S = 6 * 3600
KEEP_DAYS_S = 400 * SECONDS_A_DAY
KEEP_WEAKER = 10_000
UNKNOWN_TENANT = "?"


class Verdict(StrEnum):
    """Whether a delivery had what was asked for."""

    NOTHING = ""
    MET = "met"
    UNPROVEN = "unproven"
    WEAKER = "weaker"


class By(StrEnum):
    """What a share can be told apart by."""

    TENANT = "tenant"
    DOMAIN = "domain"
    PROVIDER = "provider"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Counts:
    """How many there were of each class.

    `refused` ones were not delivered and belong to no percentage.
    """

    authenticated: int = 0
    encrypted: int = 0
    plaintext: int = 0
    unknown: int = 0
    refused: int = 0

    @property
    def sent(self) -> int:
        """Return how many were delivered."""
        return self.authenticated + self.encrypted + self.plaintext + self.unknown

    @property
    def protected(self) -> int:
        """Return how many are proved to have been encrypted, authenticated ones included."""
        return self.authenticated + self.encrypted

    def plus(self, tls: TlsClass, count: int) -> Counts:
        """Return these with some more of a class."""
        values = {name: getattr(self, name) for name in TlsClass}
        values[tls] += count
        return Counts(**values)


@dataclass(frozen=True, slots=True)
class Seen:
    """Deliveries of one class and protocol version.

    Attributes:
        tls: The class.
        version: Such as ``TLSv1.2``; empty where the log does not tell, and without TLS.
        deliveries: Message-recipients.
        sessions: SMTP sessions.
        first_at: Unix time of the first in the period; where only counts are left, of the first
            of its day.
        last_at: Unix time of the last.
    """

    tls: TlsClass
    version: str
    deliveries: int
    sessions: int
    first_at: float
    last_at: float


def count_deliveries(seen: Iterable[Seen]) -> Counts:
    """Return message-recipients by class."""
    counts = Counts()
    for each in seen:
        counts = counts.plus(each.tls, each.deliveries)
    return counts


@dataclass(frozen=True, slots=True)
class Destination:
    """What deliveries say of one relay host of one recipient domain.

    Attributes:
        domain: Recipient domain.
        relay: Host name, or empty where a delivery was refused before there was one.
        seen: By class and version, never empty.
    """

    domain: str
    relay: str
    seen: tuple[Seen, ...]

    @property
    def counts(self) -> Counts:
        """Return message-recipients by class."""
        return count_deliveries(self.seen)

    @property
    def versions(self) -> Mapping[str, int]:
        """Return deliveries by protocol version, of those that were encrypted."""
        found: dict[str, int] = {}
        for each in self.seen:
            if each.version:
                found[each.version] = found.get(each.version, 0) + each.deliveries
        return found

    @property
    def first_at(self) -> float:
        """Return the Unix time of the first delivery."""
        return min(each.first_at for each in self.seen)

    @property
    def last_at(self) -> float:
        """Return the Unix time of the last delivery."""
        return max(each.last_at for each in self.seen)

    def last_of(self, *classes: TlsClass) -> float | None:
        """Return the Unix time of the last delivery of one of some classes, or None."""
        return max((each.last_at for each in self.seen if each.tls in classes), default=None)


@dataclass(frozen=True, slots=True)
class TenantDomain:
    """A tenant's deliveries to one recipient domain.

    Attributes:
        tenant: Tenant id.
        domain: Recipient domain.
        seen: By class and version, never empty.
    """

    tenant: str
    domain: str
    seen: tuple[Seen, ...]

    @property
    def counts(self) -> Counts:
        """Return message-recipients by class."""
        return count_deliveries(self.seen)


@dataclass(frozen=True, slots=True)
class Share:
    """How much of something was encrypted.

    Attributes:
        name: The tenant, domain, provider or day (``YYYY-MM-DD``).
        deliveries: Message-recipients by class.
        sessions: SMTP sessions by class.
    """

    name: str
    deliveries: Counts
    sessions: Counts


@dataclass(frozen=True, slots=True)
class Weaker:
    """A delivery that went out with less than was asked for.

    Attributes:
        at: Unix time of the delivery.
        tenant: Tenant id.
        queue_id: Postfix queue id.
        recipient: Envelope recipient.
        domain: Recipient domain.
        relay: Host name and address, as ``host[address]``.
        service: The delivery service.
        asked: What was asked, in words, and by whom.
        got: What went out, in words.
    """

    at: float
    tenant: str
    queue_id: str
    recipient: str
    domain: str
    relay: str
    service: str
    asked: str
    got: str


@dataclass(frozen=True, slots=True)
class Check:
    """The proof of enforcement for a period.

    Attributes:
        asked: Deliveries for which TLS was asked.
        unproven: Those of them of which the log does not tell whether they had it.
        weaker: Those that had less, newest first, at most `KEEP_WEAKER`.
        weaker_count: How many those were.
        last_at: Unix time of the last delivery of any kind, or None: behind it, nothing is proved.
    """

    asked: int
    unproven: int
    weaker_count: int
    weaker: tuple[Weaker, ...] = ()
    last_at: float | None = None


class DeliveryEvidence(Protocol):
    """Answers questions about what was delivered, and how."""

    def destinations(
        self, since: float, until: float, domain: str | None = None
    ) -> list[Destination]:
        """Return what was seen for each recipient domain and relay, sorted by both.

        Args:
            since: Unix time.
            until: Unix time, not included.
            domain: Only this recipient domain, or None for all.
        """

    def tenant_domains(
        self, since: float, until: float, tenant: str | None = None
    ) -> list[TenantDomain]:
        """Return what was seen for each tenant and recipient domain, sorted by both.

        Args:
            since: Unix time.
            until: Unix time, not included.
            tenant: Only this tenant, or None for all.
        """

    def share(
        self,
        since: float,
        until: float,
        by: By,
        only: Mapping[By, str] | None = None,
    ) -> list[Share]:
        """Return counts for each value of `by`: days in order, others with the most mail first.

        Args:
            since: Unix time.
            until: Unix time, not included.
            by: What to tell apart.
            only: Values that deliveries must have, such as ``{By.TENANT: "acme"}``.
        """

    def check(self, since: float, until: float, tenant: str | None = None) -> Check:
        """Return what is known of deliveries for which TLS was asked."""

    def close(self) -> None:
        """Close the connection of the calling thread."""


@dataclass(frozen=True, slots=True)
class Record:
    """A delivery with what our configuration makes of it, as the store takes it.

    Attributes:
        at: Unix time of the log line.
        queue_id: Postfix queue id.
        tenant: Tenant id, see above.
        recipient: Envelope recipient.
        domain: Its domain, or empty if it has none.
        relay: Host name of the relay.
        address: Its IP address.
        provider: Its registrable domain.
        service: The delivery service.
        tls: What is proved.
        version: Protocol version.
        deliveries: Message-recipients.
        sessions: Sessions that began with it: 1 or 0.
        verdict: Whether it had what was asked for.
        asked: What was asked, in words, and by whom, where it did not.
        got: What went out, in words, where it did not.
    """

    at: float
    queue_id: str
    tenant: str
    recipient: str
    domain: str
    relay: str
    address: str
    provider: str
    service: str
    tls: TlsClass
    version: str = ""
    deliveries: int = 1
    sessions: int = 1
    verdict: Verdict = Verdict.NOTHING
    asked: str = ""
    got: str = ""


@dataclass(frozen=True, slots=True)
class LogPosition:
    """Up to where a log was read.

    Attributes:
        source: What was read: the digest of a file's beginning, or ``journal``. A file is known by
            what it holds, so that it is the same file after it was renamed, copied or compressed.
        head_octets: How many octets of the file the digest is over; 0 for the journal.
        offset: Octets read, of the file as it is without compression; 0 for the journal.
        cursor: The journal's cursor, or the path by which the operator named the file.
    """

    source: str
    head_octets: int
    offset: int
    cursor: str


class Scope(StrEnum):
    """Whose memory of unfinished messages something is."""

    LIVE = "live"
    INGEST = "ingest"


@dataclass(frozen=True, slots=True)
class Batch:
    """What was read of a log: all of it is stored, with the position, or nothing.

    Attributes:
        records: Deliveries.
        position: Up to where the log was read.
        previous: Up to where it was read before, as the reader knows it; None for a log of which
            nothing was read.
        state: What the joiner must remember: key to text, or to None for what it can forget.
        scope: Whose memory that is.
        sent: Recipients reached, to be added up: by key of a warm-up and number of the day.
    """

    records: Sequence[Record]
    position: LogPosition
    previous: LogPosition | None = None
    state: Mapping[str, str | None] = field(default_factory=dict)
    scope: Scope = Scope.LIVE
    sent: Mapping[tuple[str, int], int] = field(default_factory=dict)


class DeliveryStore(DeliveryEvidence, Protocol):
    """Takes deliveries, too."""

    def add(self, batch: Batch) -> bool:
        """Store a batch in one transaction.

        Returns:
            False, and nothing is stored, if somebody else has read on from `previous`.
        """

    def positions(self) -> list[LogPosition]:
        """Return all positions, the one stored last first."""

    def state(self, scope: Scope = Scope.LIVE) -> dict[str, str]:
        """Return what the joiner has to remember after the last batch."""

    def forget(self, scope: Scope) -> None:
        """Drop what a joiner remembered."""

    def roll_up(self, before: float) -> int:
        """Fold rows of deliveries before a Unix time into counts; return how many were folded."""

    def prune(self, before: float) -> int:
        """Delete counts of days that ended by a Unix time; return how many."""
