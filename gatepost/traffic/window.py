"""One sliding window: what was counted, in steps, for as long as it counts.

Purpose: see `quota` for what a window means. A step is the window's length divided by `STEPS`;
what was counted in step s counts until step s + STEPS is over.
Limits: STEPS + 1 steps are kept, those without anything not at all; a count stops at `MAX_COUNT`.
Errors: none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from gatepost.traffic.quota import MAX_COUNT, STEPS


class Window:
    """Counts of one counter.

    Attributes:
        pending: What is reserved and not counted yet.
        length_s: Length of the window in seconds.
    """

    __slots__ = ("_counts", "_rate", "_steps", "_total", "length_s", "pending")

    def __init__(self, length_s: int) -> None:
        self.length_s = length_s
        self._rate = STEPS / length_s
        self.pending = 0
        # Two short lists, oldest first: most windows hold a few steps only.
        self._steps: list[int] = []
        self._counts: list[int] = []
        self._total = 0

    def step(self, now: float) -> int:
        """Return the number of the step that a time (seconds) lies in."""
        return math.floor(now * self._rate)

    def used(self, now: float) -> int:
        """Return what counts at a time; what no longer does is forgotten."""
        return self.used_at(math.floor(now * self._rate))

    def used_at(self, step: int) -> int:
        """Return what counts in a step; what no longer does is forgotten."""
        steps = self._steps
        oldest = step - STEPS
        while steps and steps[0] < oldest:
            del steps[0]
            self._total -= self._counts.pop(0)
        return self._total

    def add(self, step: int, amount: int) -> None:
        """Count at a step; one before the newest is kept in its place."""
        amount = min(amount, MAX_COUNT - self._total)
        if amount <= 0:
            return
        self._total += amount
        steps = self._steps
        if not steps or steps[-1] < step:
            steps.append(step)
            self._counts.append(amount)
            return
        if steps[-1] == step:
            self._counts[-1] += amount
            return
        for index, each in enumerate(steps):
            if each == step:
                self._counts[index] += amount
                return
            if each > step:
                steps.insert(index, step)
                self._counts.insert(index, amount)
                return

    def take_back(self, step: int, amount: int) -> None:
        """Count no more what was counted at a step, as far as it still is."""
        if step in self._steps:
            index = self._steps.index(step)
            amount = min(amount, self._counts[index])
            self._counts[index] -= amount
            self._total -= amount

    def opens_in(self, amount: int, limit: int, now: float) -> float | None:
        """Return the seconds until there is room for an amount, or None if there never is.

        What is reserved is taken as if it were counted now.
        """
        if amount > limit:
            return None
        over = self.used(now) + self.pending + amount - limit
        if over <= 0:
            return 0.0
        last = self.step(now)
        for step, count in zip(self._steps, self._counts, strict=True):
            if over <= 0:
                break
            over -= count
            last = step
        if over > 0:
            last = self.step(now)
        return max((last + STEPS + 1) * self.length_s / STEPS - now, 0.0)

    def idle(self, now: float) -> bool:
        """Tell whether nothing counts and nothing is reserved."""
        return not self.pending and not self.used(now)

    def counts(self) -> list[tuple[int, int]]:
        """Return the steps with their counts, oldest first."""
        return list(zip(self._steps, self._counts, strict=True))

    def load(self, counts: Iterable[tuple[int, int]]) -> None:
        """Add counts that were kept."""
        for step, count in counts:
            self.add(step, count)

    @property
    def until(self) -> float:
        """The time (seconds) from which on nothing of it counts any more."""
        last = self._steps[-1] if self._steps else -STEPS - 1
        return (last + STEPS + 1) * self.length_s / STEPS
