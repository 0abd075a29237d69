"""What the store knows of lanes, in memory, for the policy server.

Purpose: an answer is one look into a dict; a thread asks the store every second for the pairs that
are slowed, and for what the warm-ups have sent today.
Limits: 1 s between two looks, 2 s for the first one at the start. Once a minute all is read, for a
database that was put in the place of another.
Errors: none. While the store cannot be read, what was last known stays in force, and pairs come
back at their time all the same; ``lanes-unknown`` is logged once, and an error counted.
Security: how long a pair is slowed is counted by a clock that only goes forward, from when it was
seen first: no change of the clock of day keeps it slowed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gatepost.errors import StoreUnavailable
from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import Metrics
from gatepost.store.lanes import LaneStore
from gatepost.traffic.shaping import Slowed
from gatepost.traffic.warmup import day_of

EVERY_S = 1.0
FIRST_S = 2.0
WHOLE_EVERY_S = 60.0

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


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read; nothing in it changes.

    Attributes:
        held: By lane, then by provider.
        sent: Day, and recipients reached on it by key of a warm-up; None before the first look.
    """

    held: Mapping[str, Mapping[str, tuple[Held, ...]]] = field(default_factory=dict)
    sent: tuple[int, Mapping[str, int]] | None = None


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
        self._open_store = open_store
        self._metrics = metrics
        self._every_s = every_s
        self._clock = clock
        self._steady = steady
        self._store: LaneStore | None = None
        self._known = _Known()
        self._began: dict[Slowed, Held] = {}
        self._version: int | None = None
        self._whole_at = 0.0
        self._failed = False
        self._looked = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lanes", daemon=True)
        self._thread.start()
        if not self._looked.wait(first_s):
            log_event(_log, logging.WARNING, "lanes-unknown", reason="the store is slow")

    def is_slowed(self, lane: str) -> bool:
        """Tell whether any pair of a lane may be slowed."""
        return lane in self._known.held

    def rate_of(self, lane: str, provider: str) -> tuple[Slowed, float] | None:
        """Return who holds a pair back the most and what may pass a minute, or None."""
        now = self._steady()
        held = [
            (rate, each.slowed)
            for each in self._known.held.get(lane, {}).get(provider, ())
            if (rate := each.slowed.rate_after(now - each.began)) is not None
        ]
        if not held:
            return None
        rate, slowed = min(held, key=lambda pair: pair[0])
        return slowed, rate

    def sent(self) -> tuple[int, Mapping[str, int]] | None:
        """Return a day and what was sent on it by key of a warm-up, or None if nobody knows."""
        return self._known.sent

    def status(self) -> dict[str, Any]:
        """Return what ``gatepost status`` shows."""
        now = self._steady()
        slowed = [each for each in self._began.values() if _is_slowed(each, now)]
        return {"known": not self._failed and self._known.sent is not None, "slowed": len(slowed)}

    def stop(self, timeout_s: float = FIRST_S) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._look()
            except StoreUnavailable as error:
                self._fail(str(error))
            except Exception as error:
                # The thread must live.
                _log.exception("lanes-failed")
                self._fail(str(error))
            else:
                self._fine()
            self._looked.set()
            self._stop.wait(self._every_s)
        if self._store is not None:
            self._store.close()

    def _look(self) -> None:
        if self._store is None:
            self._store = self._open_store()
        store, now = self._store, self._steady()
        held = self._known.held
        version = store.version()
        if version != self._version or now >= self._whole_at:
            self._whole_at = now + WHOLE_EVERY_S
            held = self._read(store.slowed(), now)
            self._version = version
        day = day_of(self._clock())
        self._known = _Known(held, (day, store.sent_on(day)))

    def _read(self, found: list[Slowed], now: float) -> dict[str, dict[str, tuple[Held, ...]]]:
        wall = self._clock()
        self._began = {
            each: self._began.get(each) or Held(each, now - max(0.0, wall - each.since))
            for each in found
        }
        held: dict[str, dict[str, tuple[Held, ...]]] = {}
        for each in self._began.values():
            if not _is_slowed(each, now):
                continue
            pairs = held.setdefault(each.slowed.lane, {})
            pairs[each.slowed.provider] = (*pairs.get(each.slowed.provider, ()), each)
        return held

    def _fail(self, reason: str) -> None:
        # A file that is put in the place of another may have the same version.
        self._version = None
        if not self._failed:
            self._metrics.error("store")
            log_event(_log, logging.WARNING, "lanes-unknown", reason=reason)
        self._failed = True

    def _fine(self) -> None:
        if self._failed:
            log_event(_log, logging.INFO, "lanes-known", slowed=len(self._began))
        self._failed = False


def _is_slowed(held: Held, now: float) -> bool:
    return held.slowed.rate_after(now - held.began) is not None
