"""Where the counters of quotas are kept, so that a restart does not give everybody a new start.

Purpose: the interface; `sqlite_quotas` implements it. Whoever counts writes behind, and is alone in
doing so; others read.
Errors: each call raises `StoreUnavailable`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from gatepost.traffic.counters import Row


@dataclass(frozen=True, slots=True)
class ClockMark:
    """How late it was by the counters' clock, and by those that it follows.

    Attributes:
        boot: Name of the boot, or empty if it is not known.
        since_boot: Seconds since then, time asleep included.
        at: Seconds of the counters' clock.
        wall: Unix time in seconds.
    """

    boot: str
    since_boot: float
    at: float
    wall: float


class FleetMark(NamedTuple):
    """What a node that shares its counters knew.

    Attributes:
        era: Whose data its own counts are in, or empty if nobody has them.
        nodes: How many nodes were alive, or 0 if that was never heard.
    """

    era: str
    nodes: int


class QuotaStore(Protocol):
    """Keeps counters and their clock."""

    def load(self) -> tuple[ClockMark | None, list[Row]]:
        """Return the last mark, or None if nothing was ever written, and all counters."""

    def write(self, mark: ClockMark, rows: Sequence[Row]) -> None:
        """Replace counters by what they are now, and the mark, all or nothing."""

    def fleet(self) -> FleetMark | None:
        """Return what a node that shares its counters knew, or None if it never did."""

    def keep_fleet(self, mark: FleetMark) -> None:
        """Keep what a node that shares its counters knows."""

    def refuse(self, queue_ids: Sequence[str], wall: float) -> None:
        """Keep that others refused messages after their end, at a Unix time in seconds."""

    def refused(self, after: int) -> list[tuple[int, str]]:
        """Return messages that others refused, by number and queue id, from a number on."""

    def last_refused(self) -> int:
        """Return the number of the last one, or 0."""

    def prune(self, at: float, wall: float) -> int:
        """Delete counters that count nothing any more, and old refusals; return how many.

        Args:
            at: Seconds of the counters' clock.
            wall: Unix time in seconds; refusals an hour older than this go.
        """

    def close(self) -> None:
        """Close the connection of the calling thread."""
