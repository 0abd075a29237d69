"""What may be asked of the store of lanes: which pairs are slowed, and what was sent on a day.

Purpose: the back role writes what it learns from the log, commands write what an operator says, and
the policy server reads both every second. It is one node's own: what a provider says of a node's
addresses holds for that node.
Limits: `MAX_SLOWED` pairs, those that come back the soonest go first; days of the last
`KEEP_DAYS`.
Errors: every method raises `StoreUnavailable` and nothing else.
"""

from __future__ import annotations

from typing import Final, Protocol

from gatepost.traffic.shaping import Slowed

MAX_SLOWED: Final = 1_000
KEEP_DAYS: Final = 40


class LaneStore(Protocol):
    """Keeps slowed pairs, and reads what was sent."""

    def version(self) -> int:
        """Return a number that is another one after every change of the slowed pairs."""

    def slowed(self) -> list[Slowed]:
        """Return all slowed pairs; one may be there twice, by a rule and by the operator."""

    def slow(self, slowed: Slowed) -> None:
        """Slow a pair, in the place of what the same side did about it before."""

    def lift(self, lane: str, provider: str) -> list[Slowed]:
        """Forget all that was done about a pair, and return it."""

    def prune(self, now: float) -> int:
        """Drop what has ended and is forgotten, and days of long ago; return how many pairs."""

    def sent_on(self, day: int) -> dict[str, int]:
        """Return how many recipients were reached on a day, by the key of the warm-up.

        The numbers are put there with the position of the log, see `maillog.evidence.Batch`, so
        that no death of the reader loses any or counts one twice.
        """

    def close(self) -> None:
        """Close the connection of the calling thread."""
