"""What the store knows of lanes, in memory, for the policy server.

Purpose: an answer is one look into a dict; a thread asks the store every second for the pairs that
are slowed, and for what the warm-ups have sent today.
Limits: those of `gatepost.runtime.store_watch`.
Errors: none. While the store cannot be read, what was last known stays in force, and pairs come
back at their time all the same; ``lanes-unknown`` is logged once, and an error counted.
Security: how long a pair is slowed is counted by a clock that only goes forward, from when it was
seen first: no change of the clock of day keeps it slowed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.store_watch import EVERY_S, FIRST_S, StoreWatch
from gatepost.store.lanes import LaneStore
from gatepost.traffic.shaping import Slowed
from gatepost.traffic.warmup import day_of

_log = logging.getLogger("gatepost.lanes")


@dataclass(frozen=True, slots=True)
class Held:
    """A pair that is slowed, and since when by our own clock.

    Attributes:
        slowed: The pair.
        began: When it was slowed, in seconds of the steady clock.
    """

    slowed: Slowed
    began: float


class LaneBook:
    """What is known of lanes."""

    def __init__(
        self,
        open_store: Callable[[], LaneStore],
        metrics: Metrics,
        *,
        every_s: float = EVERY_S,
        first_s: float = FIRST_S,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the thread, and wait for its first look.

        Args:
            open_store: Opens the store, on the thread that uses it.
            metrics: Where failures are counted.
            every_s: Seconds between two looks.
            first_s: Seconds to wait for the first one.
            clock: Unix time in seconds.
            steady: Seconds of a clock that only goes forward.
        """
        self._clock = clock
        self._steady = steady
        # By lane, then by provider; nothing in it changes.
        self._held: Mapping[str, Mapping[str, tuple[Held, ...]]] = {}
        # Day, and recipients reached on it by key of a warm-up.
        self._sent: tuple[int, Mapping[str, int]] | None = None
        self._began: dict[Slowed, Held] = {}
        self._watch = StoreWatch(
            "lanes",
            open_store,
            self._read,
            metrics,
            _log,
            unknown=self._tell_unknown,
            known=self._tell_known,
            each_time=self._read_sent,
            every_s=every_s,
            clock=steady,
        )
        self._watch.start(first_s)

    def is_slowed(self, lane: str) -> bool:
        """Tell whether any pair of a lane may be slowed."""
        return lane in self._held

    def rate_of(self, lane: str, provider: str) -> tuple[Slowed, float] | None:
        """Return who holds a pair back the most and what may pass a minute, or None."""
        now = self._steady()
        held = [
            (rate, each.slowed)
            for each in self._held.get(lane, {}).get(provider, ())
            if (rate := each.slowed.rate_after(now - each.began)) is not None
        ]
        if not held:
            return None
        rate, slowed = min(held, key=lambda pair: pair[0])
        return slowed, rate

    def sent(self) -> tuple[int, Mapping[str, int]] | None:
        """Return a day and what was sent on it by key of a warm-up, or None if nobody knows."""
        return self._sent

    def status(self) -> dict[str, Any]:
        """Return what ``gatepost status`` shows."""
        now = self._steady()
        slowed = [each for each in self._began.values() if _is_slowed(each, now)]
        return {
            "known": not self._watch.failing and self._sent is not None,
            "slowed": len(slowed),
        }

    def stop(self, timeout_s: float = FIRST_S) -> None:
        """End the thread."""
        self._watch.stop(timeout_s)

    def _read(self, store: LaneStore) -> None:
        now, wall = self._steady(), self._clock()
        self._began = {
            each: self._began.get(each) or Held(each, now - max(0.0, wall - each.since))
            for each in store.slowed()
        }
        held: dict[str, dict[str, tuple[Held, ...]]] = {}
        for each in self._began.values():
            if not _is_slowed(each, now):
                continue
            pairs = held.setdefault(each.slowed.lane, {})
            pairs[each.slowed.provider] = (*pairs.get(each.slowed.provider, ()), each)
        self._held = held

    def _read_sent(self, store: LaneStore) -> None:
        day = day_of(self._clock())
        self._sent = (day, store.sent_on(day))

    def _tell_unknown(self, reason: str) -> None:
        log_event(_log, logging.WARNING, "lanes-unknown", reason=reason)

    def _tell_known(self) -> None:
        log_event(_log, logging.INFO, "lanes-known", slowed=len(self._began))


def _is_slowed(held: Held, now: float) -> bool:
    return held.slowed.rate_after(now - held.began) is not None
