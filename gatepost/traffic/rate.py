"""How fast mail comes, measured message by message against two thresholds.

Purpose: recognise a flood after a few dozen messages, whatever its speed, and a slow excess later.
Format: a threshold N per window is a bucket that holds N and leaks N in each window. It overflows
when more comes than N at once and N per window beyond that: of a flood of 500 a second, 20/second
is passed by the 21st message, after 0.04 s; of a steady 25 a second, after 4 s. What overflows is
thrown away, so a bucket is never fuller than full, and empty one window after the last message.
    A sliding window, as quotas have, would have to keep its steps for each tenant and recognise
nothing sooner.
Limits: six numbers for each meter.
Errors: none. A clock that goes back leaks nothing.
"""

from __future__ import annotations

from gatepost.traffic.quota import Limit


class Meter:
    """The buckets of one tenant: a high threshold and a low one.

    Attributes:
        at: When it was last told of anything, in seconds.
    """

    __slots__ = ("_high", "_high_leak", "_high_size", "_low", "_low_leak", "_low_size", "at")

    def __init__(self, above: Limit, below: Limit, now: float) -> None:
        """Begin with empty buckets.

        Args:
            above: The high threshold.
            below: The low one.
            now: The time in seconds, of a clock that does not step.
        """
        self._high_size, self._low_size = above.count, below.count
        self._high_leak = above.count / above.window_s
        self._low_leak = below.count / below.window_s
        self._high = self._low = 0.0
        self.at = now

    def add(self, amount: int, now: float) -> bool:
        """Take note of what has come, and tell whether the high threshold is passed."""
        passed = now - self.at
        high, low = self._high, self._low
        if passed > 0.0:
            high -= passed * self._high_leak
            low -= passed * self._low_leak
        self.at = now
        high = high + amount if high > 0.0 else amount
        low = low + amount if low > 0.0 else amount
        over = high > self._high_size
        self._high = self._high_size if over else high
        # Filled above its brim, so that it shows until the next message.
        self._low = low if low <= self._low_size else self._low_size + 1.0
        return over

    @property
    def above_low(self) -> bool:
        """Tell whether the low threshold was passed by what came last."""
        return self._low > self._low_size

    def idle(self, now: float) -> bool:
        """Tell whether all buckets are empty."""
        passed = now - self.at
        return self._high <= passed * self._high_leak and self._low <= passed * self._low_leak
