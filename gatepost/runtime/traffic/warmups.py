"""Whether a warm-up has room today, as the policy server tells for each look-up.

Purpose: what has left, by the log, and what was handed out since, against the cap of the day.
Format of the log lines: ``warmup-over of="lane fresh" day=3 cap=500 sent=N handed_out=N
lane=normal``, once a day; ``warmup-uncounted reason=…`` and ``warmup-counted`` when the log is not
read any more, and when it is again.
Limits: see `gatepost.traffic.handed`. A cap can be passed by what Postfix sends without asking:
mail of one sender to one recipient, whose look-up it remembers for 30 s, and mail that has waited
in the active queue for longer than 5 minutes.
Errors: none. While the store cannot be read or the log is not, look-ups stand for deliveries and
are not given up, so that a cap still holds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import PREFIX, Metrics
from gatepost.snapshot import Snapshot
from gatepost.traffic.handed import HandedOut
from gatepost.traffic.warmup import Warmup, WarmupRules, day_of

MAX_SHOWN: Final = 1_000
# So long after a start nobody is told that the log is not read: the back role starts, too.
GRACE_S: Final = 30.0

_log = logging.getLogger("gatepost.warmup")

Sent = Callable[[], tuple[int, Mapping[str, int]] | None]


class WarmupDesk:
    """Counts against caps; to be used on the thread of the event loop alone."""

    def __init__(
        self,
        sent: Sent,
        log_is_read: Callable[[], bool],
        current: Callable[[], Snapshot],
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin.

        Args:
            sent: Returns a day, and what was sent on it by the log; None if nobody knows.
            log_is_read: Tells whether the log has been read of late.
            current: Returns the configuration in force.
            metrics: Where to show.
            clock: Unix time in seconds.
            steady: Seconds of a clock that only goes forward.
        """
        self._sent = sent
        self._log_is_read = log_is_read
        self._current = current
        self._clock = clock
        self._steady = steady
        self._rules: WarmupRules | None = None
        self._by_key: dict[str, Warmup] = {}
        self._handed: dict[str, HandedOut] = {}
        # By key: the day, and what was sent on it when it was looked at last.
        self._seen: dict[str, tuple[int, int]] = {}
        self._told: dict[str, int] = {}
        self._unread_told = False
        self._started_at = steady()
        metrics.registry.register(_Shown(self))

    def over(self, key: str) -> bool:
        """Tell whether a warm-up has no room left today."""
        warmup = self._warmups().get(key)
        if warmup is None:
            return False
        day = day_of(self._clock())
        cap = warmup.cap_on(day)
        if cap is None:
            return False
        if cap == 0:
            return True
        sent, handed = self._counts(key, day)
        if sent + handed < cap:
            return False
        self._tell(key, warmup, day, cap, sent, handed)
        return True

    def overs(self) -> list[str]:
        """Return the keys of those that have no room left today."""
        return [key for key in self._warmups() if self.over(key)]

    def hand_out(self, keys: Iterable[str]) -> None:
        """Take note that mail was sent on its way by warm-ups."""
        now, day = self._steady(), day_of(self._clock())
        for key in keys:
            # What has left by now was handed out before.
            self._counts(key, day)
            self._handed.setdefault(key, HandedOut()).add(now)

    def shown(self) -> list[tuple[str, int, int, int]]:
        """Return key, day of the warm-up from 1, cap and what was sent, of those under way."""
        day = day_of(self._clock())
        found = []
        for key, warmup in list(self._warmups().items())[:MAX_SHOWN]:
            cap = warmup.cap_on(day)
            if cap is not None:
                found.append((key, day - warmup.start + 1, cap, self._sent_on(key, day)))
        return found

    def _warmups(self) -> dict[str, Warmup]:
        rules = self._current().warmups
        if rules is not self._rules:
            self._rules, self._by_key = rules, rules.by_key()
            for table in (self._handed, self._seen, self._told):
                for key in table.keys() - self._by_key.keys():
                    del table[key]
        return self._by_key

    def _sent_on(self, key: str, day: int) -> int:
        known = self._sent()
        return known[1].get(key, 0) if known is not None and known[0] == day else 0

    def _counts(self, key: str, day: int) -> tuple[int, int]:
        """Return what was sent today, and what was handed out and is not accounted for."""
        sent = self._sent_on(key, day)
        handed = self._handed.get(key)
        seen_day, seen = self._seen.get(key, (day, sent))
        self._seen[key] = (day, sent)
        if handed is None:
            return sent, 0
        handed.left(max(0, sent - seen) if seen_day == day else sent)
        return sent, handed.total(self._steady(), expire=self._is_read())

    def _is_read(self) -> bool:
        read = self._log_is_read() and self._sent() is not None
        starting = self._steady() - self._started_at < GRACE_S
        if read is self._unread_told and (read or not starting):
            if read:
                log_event(_log, logging.INFO, "warmup-counted")
            else:
                reason = "the log is not read; look-ups stand for deliveries"
                log_event(_log, logging.WARNING, "warmup-uncounted", reason=reason)
            self._unread_told = not read
        return read

    def _tell(self, key: str, warmup: Warmup, day: int, cap: int, sent: int, handed: int) -> None:
        if self._told.get(key) == day:
            return
        self._told[key] = day
        log_event(
            _log,
            logging.INFO,
            "warmup-over",
            of=key,
            day=day - warmup.start + 1,
            cap=cap,
            sent=sent,
            handed_out=handed,
            lane=warmup.lane,
        )


class _Shown(Collector):
    """The metrics of warm-ups under way; their keys are of the configuration."""

    def __init__(self, desk: WarmupDesk) -> None:
        self._desk = desk

    def collect(self) -> Iterable[Metric]:
        """Return them as they are now."""
        cap = GaugeMetricFamily(
            f"{PREFIX}warmup_cap", "Recipients that a warm-up allows today.", labels=["of"]
        )
        sent = GaugeMetricFamily(
            f"{PREFIX}warmup_sent", "Recipients that it has reached today.", labels=["of"]
        )
        for key, _, most, count in self._desk.shown():
            cap.add_metric([key], most)
            sent.add_metric([key], count)
        return (cap, sent)
