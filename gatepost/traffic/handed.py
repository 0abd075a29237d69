"""What was handed out to a lane in warm-up and is not yet known to have left.

Purpose: the log tells what has left a second or two later, and mail can be queued faster than that.
Each answer of the transport map counts as one until the log has told of as many deliveries, or
for `KEEP_S`: then it was deferred, and will be asked for again, or was never mail in the queue.
Format: Postfix asks at RCPT TO and again for each attempt to deliver, so that mail that is only on
its way in counts, too; by that a cap is met early, for some minutes, and never late.
Limits: answers are counted in steps of `STEP_S`.
Errors: none.
"""

from __future__ import annotations

from collections import deque
from typing import Final

KEEP_S: Final = 300.0
STEP_S: Final = 10.0


class HandedOut:
    """Counts answers for one warm-up, by a clock that only goes forward."""

    def __init__(self) -> None:
        self._steps: deque[list[float]] = deque()
        self._total = 0

    def add(self, now: float) -> None:
        """Count one answer."""
        if not self._steps or now - self._steps[-1][0] >= STEP_S:
            self._steps.append([now, 0])
        self._steps[-1][1] += 1
        self._total += 1

    def left(self, count: int) -> None:
        """Take note of deliveries that the log has told of."""
        while count > 0 and self._steps:
            first = self._steps[0]
            taken = min(count, int(first[1]))
            first[1] -= taken
            self._total -= taken
            count -= taken
            if first[1] <= 0:
                self._steps.popleft()

    def total(self, now: float, *, expire: bool = True) -> int:
        """Return how many answers are not accounted for.

        Args:
            now: Seconds of the clock.
            expire: Whether old ones are given up; not while nobody reads the log.
        """
        while expire and self._steps and now - self._steps[0][0] > KEEP_S:
            self._total -= int(self._steps.popleft()[1])
        return self._total
