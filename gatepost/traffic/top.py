"""What ``gatepost top`` shows: tenants, how fast their mail comes and goes, and in which order.

Purpose: numbers that grow become rates over the last minute, and rows get sorted; where the numbers
come from and how they are drawn is somebody else's.
Limits: events are counted in steps of `STEP_S`, so a rate is that of the last 60 to 65 s; until a
minute has passed, that of the time since the first look. Memory: a number for each tenant, kind and
step that had any.
Errors: none. What is not known is None, is shown as a dash, and comes last in every order.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

WINDOW_S = 60.0
STEP_S = 5.0
# Rates of less time than this say nothing.
MIN_SPAN_S = 0.5


class Column(StrEnum):
    """A column, in the order in which they stand."""

    TENANT = "tenant"
    INCOMING = "in"
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    BACKLOG = "backlog"
    QUOTA = "quota"
    TLS = "tls"
    LANE = "lane"
    STATE = "state"


@dataclass(frozen=True, slots=True)
class Row:
    """One tenant.

    Attributes:
        tenant: Tenant id.
        incoming: Messages taken a minute.
        delivered: Message-recipients delivered a minute.
        deferred: Message-recipients deferred a minute; one that is deferred again within the hour
            counts once.
        bounced: Message-recipients that failed for good, a minute.
        backlog: Messages outstanding on this node.
        oldest_s: Seconds since the oldest of them came, or None.
        quota: How much of the quota that is used most is used, 1.0 for all.
        quota_name: Which one that is, or empty.
        tls: Share of the deliveries of the last hour that were encrypted.
        lane: The lane that its mail takes.
        why: Why it is that one.
        state: ``active``, or what holds it up.
    """

    tenant: str
    incoming: float | None = None
    delivered: float | None = None
    deferred: float | None = None
    bounced: float | None = None
    backlog: int | None = None
    oldest_s: float | None = None
    quota: float | None = None
    quota_name: str = ""
    tls: float | None = None
    lane: str = ""
    why: str = ""
    state: str = "active"

    def value(self, column: Column) -> float | str | None:
        """Return what stands in a column."""
        values: dict[Column, float | str | None] = {
            Column.TENANT: self.tenant,
            Column.INCOMING: self.incoming,
            Column.DELIVERED: self.delivered,
            Column.DEFERRED: self.deferred,
            Column.BOUNCED: self.bounced,
            Column.BACKLOG: self.backlog,
            Column.QUOTA: self.quota,
            Column.TLS: self.tls,
            Column.LANE: self.lane,
            Column.STATE: self.state,
        }
        return values[column]


# What is large and what is not active is what one looks for; names are read from A.
_FROM_THE_TOP = frozenset(Column) - {Column.TENANT, Column.LANE, Column.STATE, Column.TLS}


def ordered(rows: Iterable[Row], column: Column, *, reverse: bool = False) -> list[Row]:
    """Return rows in the order of a column: the largest first, but texts and TLS from below.

    Args:
        rows: The rows.
        column: What they are sorted by.
        reverse: The other way round; what is not known is last all the same.
    """
    found = sorted(rows, key=lambda row: row.tenant)
    known = [row for row in found if row.value(column) is not None]
    unknown = [row for row in found if row.value(column) is None]
    if column is Column.STATE:
        known.sort(key=lambda row: row.state == "active", reverse=reverse)
        return known + unknown
    down = (column in _FROM_THE_TOP) != reverse
    known.sort(key=lambda row: row.value(column), reverse=down)  # type: ignore[arg-type,return-value]
    return known + unknown


def total(rows: Iterable[Row]) -> Row:
    """Return the sum of all rows, under the name ``all``."""
    every = list(rows)

    def add(column: Column) -> float | None:
        numbers = [each.value(column) for each in every]
        known = [each for each in numbers if isinstance(each, int | float)]
        return sum(known) if known else None

    backlog = add(Column.BACKLOG)
    oldest = [each.oldest_s for each in every if each.oldest_s is not None]
    return Row(
        "all",
        add(Column.INCOMING),
        add(Column.DELIVERED),
        add(Column.DEFERRED),
        add(Column.BOUNCED),
        None if backlog is None else int(backlog),
        max(oldest) if oldest else None,
        state="",
    )


class Meter:
    """Counts things that happen, by name, over the last minute."""

    def __init__(self, since: float) -> None:
        """Begin to count.

        Args:
            since: Seconds of the caller's clock before which nothing is counted.
        """
        self._since = since
        self._steps: deque[tuple[float, Counter[tuple[str, str]]]] = deque()

    def add(self, tenant: str, what: str, at: float) -> None:
        """Count one; what is older than all that is counted is left out."""
        if at < self._since:
            return
        begin = at - at % STEP_S
        for start, counts in reversed(self._steps):
            if start == begin:
                counts[tenant, what] += 1
                return
            if start < begin:
                break
        # Nearly always the last: events are stored in about the order in which they happen.
        steps = [*self._steps, (begin, Counter({(tenant, what): 1}))]
        self._steps = deque(sorted(steps, key=lambda step: step[0]))

    def rates(self, now: float) -> Mapping[tuple[str, str], float]:
        """Return how many there were a minute, by tenant and what it was."""
        while self._steps and self._steps[0][0] + STEP_S <= now - WINDOW_S:
            self._steps.popleft()
        span = now - max(self._since, now - WINDOW_S)
        if span < MIN_SPAN_S:
            return {}
        sums: Counter[tuple[str, str]] = Counter()
        for _, counts in self._steps:
            sums.update(counts)
        return {key: count * 60.0 / span for key, count in sums.items()}


class Arrivals:
    """Turns totals that grow into rates."""

    def __init__(self) -> None:
        self._reader = ""
        self._samples: deque[tuple[float, Mapping[str, int]]] = deque()

    def sample(self, reader: str, at: float, totals: Mapping[str, int]) -> None:
        """Take note of totals.

        Args:
            reader: Who counts; another one begins at zero.
            at: Seconds of a clock that goes on.
            totals: By tenant; who is missing is not known.
        """
        if reader != self._reader:
            self._samples.clear()
            self._reader = reader
        if self._samples and at <= self._samples[-1][0]:
            return
        self._samples.append((at, totals))
        while len(self._samples) > 2 and self._samples[1][0] <= at - WINDOW_S:
            self._samples.popleft()

    @property
    def span_s(self) -> float:
        """Return over how many seconds there are totals."""
        return self._samples[-1][0] - self._samples[0][0] if self._samples else 0.0

    def rate(self, tenant: str) -> float | None:
        """Return how many came a minute, or None if that is not known."""
        if self.span_s < MIN_SPAN_S or tenant not in self._samples[-1][1]:
            return None
        end, last = self._samples[-1]
        for begin, totals in self._samples:
            if tenant in totals and end - begin >= MIN_SPAN_S:
                return max(0, last[tenant] - totals[tenant]) * 60.0 / (end - begin)
        return None
