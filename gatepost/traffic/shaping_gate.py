"""The gate: which delivery of a slowed pair goes now, which waits a moment, and which goes back.

Purpose: deliveries are let pass at even distances, so that a provider never sees a burst. A few
wait for their turn with Postfix's smtp(8); those beyond are told to come again, and go back to the
deferred queue. A few must wait: Postfix takes a destination whose deliveries all fail at once for
dead, and then stops all mail to it for minimal_backoff_time, so that far less than the allowance
would pass. With some waiting it finds the concurrency that the allowance can take by itself.
Source: Postfix SCHEDULER_README, "Concurrency scheduling"; the generic cell rate algorithm (ITU-T
I.371) for the distances.
Limits: `WAITING` wait for one pair, `WAITING_OF_LANE` for a lane, which is less than half of the
processes that a service may have (default_process_limit, 100), each for at most `WAIT_S`, less than
the 100 s after which Postfix gives up on a map. After a pause up to `BURST` pass at once. Beyond
`MAX_TURNS` pairs, twice as many as are slowed at once, those without deliveries are forgotten.
Errors: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WAITING: Final = 10
WAITING_OF_LANE: Final = 40
WAIT_S: Final = 60.0
BURST: Final = 2
MAX_TURNS: Final = 2_000

Pair = tuple[str, str]


@dataclass(slots=True)
class _Turns:
    """The turns of one pair.

    Attributes:
        next_at: When the next turn is, in seconds; turns before now are gone, but for `BURST`.
        waiting: How many wait for theirs.
    """

    next_at: float
    waiting: int = 0


class Gate:
    """Gives out turns, by a clock that only goes forward."""

    def __init__(self) -> None:
        self._turns: dict[Pair, _Turns] = {}
        self._of_lane: dict[str, int] = {}

    def __len__(self) -> int:
        """Return how many pairs have turns."""
        return len(self._turns)

    @property
    def waiting(self) -> int:
        """Return how many wait."""
        return sum(self._of_lane.values())

    def ask(self, pair: Pair, rate: float, now: float) -> float | None:
        """Return how many seconds a delivery has to wait, or None if it has to come again.

        Whoever gets more than 0 waits, and says so with `left` afterwards.

        Args:
            pair: Lane and provider.
            rate: Deliveries a minute.
            now: Seconds of a clock that only goes forward.
        """
        if rate <= 0:
            return None
        distance = 60 / rate
        turns = self._turns.get(pair)
        if turns is None:
            self._make_room(now)
            turns = self._turns[pair] = _Turns(now)
        at = max(turns.next_at, now - distance * (BURST - 1))
        wait = at - now
        if wait <= 0:
            turns.next_at = at + distance
            return 0.0
        lane = pair[0]
        if (
            wait > WAIT_S
            or turns.waiting >= WAITING
            or self._of_lane.get(lane, 0) >= WAITING_OF_LANE
        ):
            return None
        turns.next_at = at + distance
        turns.waiting += 1
        self._of_lane[lane] = self._of_lane.get(lane, 0) + 1
        return wait

    def _make_room(self, now: float) -> None:
        """Forget pairs that nobody waits for and whose turn is past, if there are many."""
        if len(self._turns) >= MAX_TURNS:
            self._turns = {
                pair: turns
                for pair, turns in self._turns.items()
                if turns.waiting or turns.next_at > now
            }

    def left(self, pair: Pair) -> None:
        """Take note that one that waited does so no more."""
        self._of_lane[pair[0]] -= 1
        if (turns := self._turns.get(pair)) is not None:
            turns.waiting -= 1
