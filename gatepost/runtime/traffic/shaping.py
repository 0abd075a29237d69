"""Shaping at work: in the back role, from deliveries in the log to slowed pairs in the store.

Purpose: the observer hands over what it reads; a thread of its own writes what follows, so that a
store that is away holds up nobody, and what an operator lifts is known a moment later.
Format of the log lines: ``shaping lane=… provider=… rate=… until=… strikes=… rule=… mode=…
why="…"``, a warning, and ``shaping-over lane=… provider=…``.
Limits: the store is looked at every 0.5 s, as the log is. Lines of the log that are older than
`OLD_S` slow nobody down: a log that is read again after a stop tells of what was.
Errors: none; a store that is not available is tried again at the next look, and counted.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Iterable

from gatepost.decisions.shaping import pair_of, signal_of
from gatepost.feedback.event_ids import shaping_id
from gatepost.feedback.events import Event, EventKind
from gatepost.maillog.model import Delivery
from gatepost.modes import Mode
from gatepost.runtime.deliveries import is_loopback
from gatepost.runtime.hourly import Hourly
from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.traffic.shaping_metrics import ShapingMetrics
from gatepost.snapshot import Snapshot
from gatepost.store.events import EventStore
from gatepost.store.lanes import LaneStore
from gatepost.traffic.shaping import (
    Slowed,
    counts_again,
    in_words,
    mended,
    strike,
)
from gatepost.traffic.shaping_signals import Pair, Signals

EVERY_S = 0.5
OLD_S = 600.0
PRUNE_EVERY_S = 600.0
# A clock that differs by less was not put back.
_SLACK_S = 2.0

_log = logging.getLogger("gatepost.shaping")


class ShapingWatch(Hourly):
    """Slows pairs down; `take` is for the observer's thread, the rest for its own."""

    def __init__(
        self,
        open_store: Callable[[], LaneStore],
        open_events: Callable[[], EventStore],
        current: Callable[[], Snapshot],
        metrics: Metrics,
        *,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Start the thread.

        Args:
            open_store: Opens the store, on the thread that uses it.
            open_events: Opens the store of events, likewise.
            current: Returns the snapshot in force.
            metrics: Where to count.
            every_s: Seconds between two looks.
            clock: Unix time in seconds.
        """
        self._open_store = open_store
        self._open_events = open_events
        self._current = current
        self._clock = clock
        self._lock = threading.Lock()
        self._signals = Signals()
        self._known: dict[Pair, Slowed] = {}
        self._by_hand: dict[Pair, Slowed] = {}
        self._unwritten: dict[Pair, Slowed] = {}
        self._untold: list[Slowed] = []
        self._active: set[Pair] = set()
        self._store: LaneStore | None = None
        self._events: EventStore | None = None
        self._version: int | None = None
        self._prune_at = 0.0
        self._shown = ShapingMetrics(metrics)
        super().__init__("shaping", self._look, metrics, first_s=0.0, every_s=every_s)

    def take(self, found: Iterable[Delivery], snapshot: Snapshot) -> None:
        """Look at what was read of the log.

        Args:
            found: Deliveries, in the order of the log.
            snapshot: The configuration in force.
        """
        rules = snapshot.shaping
        if not rules.on or snapshot.modes.lane is Mode.OFF:
            return
        now = self._clock()
        with self._lock:
            for delivery in found:
                if abs(now - delivery.at) > OLD_S or is_loopback(delivery.address):
                    continue
                pair = pair_of(delivery, snapshot)
                if pair is not None:
                    self._one(pair, delivery, snapshot, now)

    def _one(self, pair: Pair, delivery: Delivery, snapshot: Snapshot, now: float) -> None:
        self._signals.delivery(pair, delivery.at, delivery.queue_id)
        signal = signal_of(delivery, pair[1], snapshot.shaping)
        if signal is None:
            return
        before = self._known.get(pair)
        if not counts_again(before, delivery.started_at):
            return
        if not self._signals.reply(pair, signal.rule, delivery.at):
            return
        self._signals.forget(pair)
        base = self._signals.rate(pair, now)
        slowed = strike(before, signal.rule, pair, base, signal.reply, now)
        self._known[pair] = self._unwritten[pair] = slowed
        self._untold.append(slowed)
        self._shown.struck(signal.rule.name)
        self._tell(slowed, snapshot)

    def _tell(self, slowed: Slowed, snapshot: Snapshot) -> None:
        until = dt.datetime.fromtimestamp(slowed.until, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        log_event(
            _log,
            logging.WARNING,
            "shaping",
            lane=slowed.lane,
            provider=slowed.provider,
            rate=in_words(slowed.rates[0]),
            until=until,
            strikes=slowed.strikes + 1,
            rule=slowed.rule,
            mode=snapshot.modes.lane.value,
            why=slowed.why,
        )

    def _look(self) -> None:
        now = self._clock()
        self._store = store = self._store or self._open_store()
        self._write(store)
        version = store.version()
        if version != self._version:
            self._load(store, now)
            self._version = version
        if now >= self._prune_at or now < self._prune_at - PRUNE_EVERY_S:
            store.prune(now)
            self._prune_at = now + PRUNE_EVERY_S
        self._show(now)
        self._tell_events()

    def _write(self, store: LaneStore) -> None:
        with self._lock:
            waiting = dict(self._unwritten)
        for pair, slowed in waiting.items():
            store.slow(slowed)
            with self._lock:
                if self._unwritten.get(pair) is slowed:
                    del self._unwritten[pair]

    def _load(self, store: LaneStore, now: float) -> None:
        found = store.slowed()
        for index, each in enumerate(found):
            if each.since > now + _SLACK_S:
                # The clock was put back; nobody is to stay slowed for as long as that was.
                found[index] = mended(each, now)
                store.slow(found[index])
        with self._lock:
            rules = {(each.lane, each.provider): each for each in found if not each.by}
            for pair in self._known.keys() - rules.keys() - self._unwritten.keys():
                # An operator has lifted it, or it is forgotten.
                self._signals.forget(pair)
            self._known = {**rules, **self._unwritten}
            self._by_hand = {(each.lane, each.provider): each for each in found if each.by}

    def _show(self, now: float) -> None:
        with self._lock:
            known = [*self._known.values(), *self._by_hand.values()]
        active = {(each.lane, each.provider) for each in known if each.rate_at(now) is not None}
        for lane, provider in sorted(self._active - active):
            log_event(_log, logging.INFO, "shaping-over", lane=lane, provider=provider)
        self._active = active
        self._shown.slowed(len(active))

    def _tell_events(self) -> None:
        with self._lock:
            untold = list(self._untold)
        if not untold:
            return
        self._events = self._events or self._open_events()
        mode = self._current().modes.lane
        self._events.add([event_of_strike(each, mode) for each in untold])
        with self._lock:
            del self._untold[: len(untold)]


def event_of_strike(slowed: Slowed, mode: Mode) -> Event:
    """Return the event of a pair that was slowed."""
    whose = f"slowed {slowed.by or slowed.rule}"
    details: dict[str, str | int | float] = {
        "lane": slowed.lane,
        "state": "slowed",
        "rate": round(slowed.rates[0], 3),
        "until": round(slowed.until, 3),
        "why": slowed.why,
        "mode": mode.value,
    }
    details |= {"by": slowed.by} if slowed.by else {"rule": slowed.rule, "strikes": slowed.strikes}
    return Event(
        shaping_id(slowed.lane, slowed.provider, whose, slowed.since),
        EventKind.SHAPING_CHANGED,
        slowed.since,
        "",
        provider=slowed.provider,
        details=details,
    )


def event_of_lift(slowed: Slowed, by: str, reason: str, at: float) -> Event:
    """Return the event of a pair that an operator has lifted."""
    return Event(
        shaping_id(slowed.lane, slowed.provider, f"lifted {by}", at),
        EventKind.SHAPING_CHANGED,
        at,
        "",
        provider=slowed.provider,
        details={"lane": slowed.lane, "state": "lifted", "by": by, "why": reason},
    )
