"""Signals: from deliveries to the pairs of lane and provider that have to be slowed.

Purpose: count the replies that a rule speaks of, and how much each pair delivers, so that a share
of it can be told.
Format: a delivery of one message to one server counts once, however many recipients it has: that is
what Postfix asks for, and what an allowance lets pass.
Limits: `MAX_PAIRS` pairs are remembered, those without mail for the longest go first; an hour of
their deliveries by minute, and the last `MAX_REPLIES` replies for a rule.
Errors: none.
Security: time comes from the log, of which a line may be late; what is older than a window counts
for nothing.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

from gatepost.traffic.shaping import Rule

MAX_PAIRS: Final = 10_000
MAX_REPLIES: Final = 500
# The allowance is made of the busiest of so many minutes.
MINUTES: Final = 10
_HOUR: Final = 61

Pair = tuple[str, str]


@dataclass(slots=True)
class _Seen:
    """What was seen of one pair."""

    minutes: deque[list[int]] = field(default_factory=lambda: deque(maxlen=_HOUR))
    last: str = ""
    replies: dict[str, deque[float]] = field(default_factory=dict)


class Signals:
    """Counts deliveries and replies, pair by pair."""

    def __init__(self, max_pairs: int = MAX_PAIRS) -> None:
        self._max_pairs = max_pairs
        self._seen: OrderedDict[Pair, _Seen] = OrderedDict()

    def __len__(self) -> int:
        """Return how many pairs are remembered."""
        return len(self._seen)

    def delivery(self, pair: Pair, at: float, queue_id: str) -> None:
        """Count one attempt to deliver.

        Args:
            pair: Lane and provider.
            at: Unix time in seconds.
            queue_id: The message; lines of further recipients of it, in a row, count once.
        """
        seen = self._of(pair)
        if seen.last == queue_id:
            return
        seen.last = queue_id
        minute = int(at // 60)
        if not seen.minutes or minute > seen.minutes[-1][0]:
            seen.minutes.append([minute, 1])
        else:
            seen.minutes[-1][1] += 1

    def rate(self, pair: Pair, now: float) -> float:
        """Return the most deliveries of a minute that a pair had of late."""
        seen = self._seen.get(pair)
        if seen is None:
            return 0.0
        first = int(now // 60) - MINUTES
        return float(max((count for minute, count in seen.minutes if minute >= first), default=0))

    def reply(self, pair: Pair, rule: Rule, at: float) -> bool:
        """Count one reply, and tell whether a rule's count is reached; then it begins anew.

        Args:
            pair: Lane and provider.
            rule: The rule that the reply counts for.
            at: Unix time in seconds.
        """
        seen = self._of(pair)
        times = seen.replies.get(rule.name)
        if times is None:
            times = seen.replies[rule.name] = deque(maxlen=MAX_REPLIES)
        times.append(at)
        needed = rule.count
        if rule.share:
            first = int((at - rule.within_s) // 60)
            delivered = sum(count for minute, count in seen.minutes if minute >= first)
            needed = min(max(needed, math.ceil(rule.share * delivered)), MAX_REPLIES)
        if len(times) < needed or at - times[-needed] > rule.within_s:
            return False
        times.clear()
        return True

    def forget(self, pair: Pair) -> None:
        """Begin to count the replies of a pair anew."""
        if (seen := self._seen.get(pair)) is not None:
            seen.replies.clear()

    def _of(self, pair: Pair) -> _Seen:
        seen = self._seen.get(pair)
        if seen is None:
            seen = self._seen[pair] = _Seen()
            if len(self._seen) > self._max_pairs:
                self._seen.popitem(last=False)
        else:
            self._seen.move_to_end(pair)
        return seen
