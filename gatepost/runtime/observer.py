"""Follow the mail log in the back role: what went out, and whether it had the TLS it should have.

Purpose: each delivery in the log becomes a row in the store, in one transaction with the position
of the log. A delivery that went out weaker than asked is told at once.
Format of the log line: ``weaker-delivery tenant=… queue_id=… to=<…> relay=… service=… asked="…"
got="…"``, a warning.
Limits: the log is looked at twice a second; 1 MiB of it is one transaction.
Errors: none. Whatever fails, the log or the store, is counted and told once; then the observer
begins anew where the store says that it was, after 1 s, then at growing intervals up to 60 s. Mail
never waits for it.
Security: an alarm is logged before it is stored: a process that is killed in between tells it
twice, and never not at all.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gatepost.decisions.quota import needs_end_of_message
from gatepost.decisions.warmup import sent_by
from gatepost.errors import LogUnavailable, PostfixUnavailable, StoreUnavailable, Unavailable
from gatepost.maillog.evidence import (
    KEEP_DAYS_S,
    KEEP_ROWS_S,
    Batch,
    DeliveryStore,
    LogPosition,
    Record,
    Verdict,
)
from gatepost.maillog.follow import JOURNAL, JOURNALCTL, Chunk, FileFollower, JournalFollower
from gatepost.maillog.join import Joiner
from gatepost.maillog.lines import Entry
from gatepost.maillog.model import Delivery
from gatepost.maillog.refusals import refused_messages
from gatepost.maillog.stamps import Clock
from gatepost.postfix.log_facts import LogFacts, log_facts
from gatepost.runtime.deliveries import History, record_of
from gatepost.runtime.feedback.delivery_events import DeliveryEvents, OutcomeStores
from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import Metrics
from gatepost.settings import Settings
from gatepost.snapshot import Snapshot

LOOK_S = 0.5
RETRY_FIRST_S = 1.0
RETRY_MAX_S = 60.0
FACTS_EVERY_S = 60.0
TIDY_FIRST_S = 60.0
TIDY_EVERY_S = 3600.0
STOP_S = 5.0

_MAX_TOLD = 1000
# The key of the joiner's memory under which stands up to where the log was read with it.
_AT = "at"

_log = logging.getLogger("gatepost.observer")


Taker = Callable[[Sequence[Delivery], Snapshot], None]


class Follower(Protocol):
    """What gives the lines of a log."""

    def read(self) -> Chunk | None:
        """Return the next lines, or None if there are none yet."""

    def close(self) -> None:
        """Let go of the log."""


def open_follower(maillog: str, positions: list[LogPosition]) -> Follower:
    """Return what follows a log.

    Args:
        maillog: The setting: a path, or ``journal``.
        positions: All positions that are known, the latest first.

    Raises:
        LogUnavailable: If it cannot be read.
    """
    if maillog != JOURNAL:
        return FileFollower(Path(maillog), positions)
    journal = [each for each in positions if each.source == JOURNAL]
    return JournalFollower(journal[0] if journal else None, JOURNALCTL)


@dataclass(slots=True)
class _Work:
    """What one run of the observer works with."""

    store: DeliveryStore
    joiner: Joiner
    clock: Clock
    follower: Follower
    facts: LogFacts
    # Up to where the log was read when the joiner remembered this; None behind the first chunk.
    remembered: str | None
    events: DeliveryEvents | None = None


class _Overtaken(Unavailable):
    """Somebody else has read on; the store knows how far."""


class Observer:
    """Follows the log on a thread of its own, until `stop`."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        snapshot: Snapshot,
        loaded_at: float,
        open_store: Callable[[], DeliveryStore],
        open_outcomes: Callable[[], OutcomeStores] | None = None,
        refused: Callable[[list[str]], None] | None = None,
        *,
        takers: Sequence[Taker] = (),
    ) -> None:
        """Start the thread.

        Args:
            settings: Where the log is, and which Postfix writes it.
            metrics: Where to count.
            snapshot: The configuration in force.
            loaded_at: Unix time since when it is.
            open_store: Opens the store, on the observer's own thread.
            open_outcomes: Opens what events and suppression are kept in, or None to keep none.
            refused: Is told the queue ids of messages that were refused after their end; may raise
                `StoreUnavailable`.
            takers: Are handed the deliveries of each chunk once it is stored, on this thread; must
                not raise.
        """
        assert settings.maillog is not None
        self._settings = settings
        self._maillog = settings.maillog
        self._errors = metrics
        self._metrics = metrics.watch_deliveries()
        self._open_store = open_store
        self._open_outcomes = open_outcomes
        self._refused = refused
        self._takers = tuple(takers)
        self._history = History(snapshot, loaded_at)
        self._stop = threading.Event()
        self._retry_s = 0.0
        self._trouble = ""
        self._position: LogPosition | None = None
        self._last_at = 0.0
        self._tidy_at = time.monotonic() + TIDY_FIRST_S
        self._facts_at = 0.0
        self._told: dict[tuple[str, str, float], None] = {}
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self._thread.start()

    def reloaded(self, snapshot: Snapshot) -> None:
        """Take note of a new configuration."""
        self._history.add(snapshot, time.time())
        # What is reloaded is often the other half of a change of Postfix's own files.
        self._facts_at = 0.0

    def stop(self, timeout_s: float = STOP_S) -> None:
        """End the thread; what was read and not stored is read again next time."""
        self._stop.set()
        self._thread.join(timeout_s)

    def details(self) -> dict[str, Any]:
        """Return what ``gatepost status`` shows."""
        position = self._position
        return {
            "maillog": self._maillog,
            "maillog_offset": position.offset if position else 0,
            "maillog_last_at": self._last_at,
            "maillog_trouble": self._trouble,
        }

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with contextlib.ExitStack() as stack:
                    store = stack.enter_context(contextlib.closing(self._open_store()))
                    self._follow(store, self._events(stack))
            except _Overtaken:
                self._stop.wait(LOOK_S)
                continue
            except (StoreUnavailable, LogUnavailable) as error:
                self._failed("store" if isinstance(error, StoreUnavailable) else "maillog", error)
            except Exception as error:
                # The thread must live; the store knows where to begin again.
                _log.exception("observer-failed")
                self._failed("observer", error)
            else:
                continue
            self._stop.wait(self._retry_s)

    def _failed(self, kind: str, error: Exception) -> None:
        self._errors.error(kind)
        if str(error) != self._trouble:
            log_event(_log, logging.WARNING, f"{kind}-unavailable", reason=str(error))
        self._trouble = str(error)
        self._retry_s = min(self._retry_s * 2 or RETRY_FIRST_S, RETRY_MAX_S)

    def _events(self, stack: contextlib.ExitStack) -> DeliveryEvents | None:
        if self._open_outcomes is None:
            return None
        events = DeliveryEvents(self._open_outcomes(), self._stop)
        return stack.enter_context(contextlib.closing(events))

    def _follow(self, store: DeliveryStore, events: DeliveryEvents | None) -> None:
        """Read until told to stop, or until something fails."""
        facts = self._facts()
        if events is not None and facts is None:
            # Message ids are made of it, and events with other ids would count twice.
            raise LogUnavailable("postconf cannot tell myhostname")
        now = time.time()
        clock = Clock(now)
        follower = open_follower(self._maillog, store.positions())
        state = store.state()
        remembered = state.pop(_AT, "")
        joiner = Joiner(clock, state=state)
        if facts is not None:
            # What Postfix is set to says nothing of lines that it wrote before.
            joiner.tls_is_logged(now if facts.tls_logged else None)
        work = _Work(store, joiner, clock, follower, facts or LogFacts(), remembered, events)
        with contextlib.closing(follower):
            while not self._stop.is_set():
                chunk = follower.read()
                if chunk is not None:
                    self._take(work, chunk)
                self._fine()
                self._tidy(store)
                self._look_again(work)
                if chunk is None:
                    self._stop.wait(LOOK_S)

    def _facts(self) -> LogFacts | None:
        self._facts_at = time.monotonic() + FACTS_EVERY_S
        try:
            return log_facts(self._settings.postfix_config_dir)
        except PostfixUnavailable as error:
            # Then each service's own lines tell whether it logs TLS.
            log_event(_log, logging.WARNING, "maillog-facts", reason=str(error))
            return None

    def _look_again(self, work: _Work) -> None:
        """Take note of what has changed in Postfix's files."""
        if time.monotonic() < self._facts_at:
            return
        now = time.time()
        facts = self._facts()
        if facts is None or facts == work.facts:
            return
        work.joiner.tls_is_logged(now if facts.tls_logged else None)
        work.facts = facts

    def _take(self, work: _Work, chunk: Chunk) -> None:
        """Store what a chunk tells, with its position."""
        joiner = work.joiner
        work.clock.move(time.time())
        before = joiner.tally.lines, joiner.tally.unreadable
        if chunk.gap:
            log_event(_log, logging.WARNING, "maillog-gap", log=self._maillog)
        if chunk.gap or _was_read_by_others(work, chunk):
            joiner.gap()
        found = [*filter(None, map(joiner.read, chunk.lines)), *_entries(joiner, chunk)]
        records = self._records(found, work.facts)
        for record in records:
            if record.verdict is Verdict.WEAKER:
                self._tell(record)
        if work.events is not None:
            work.events.take(found, work.facts.host, self._history.latest)
        if (
            self._refused is not None
            and needs_end_of_message(self._history.latest)
            and (refused := refused_messages(chunk.lines))
        ):
            self._refused(refused)
        state = {**joiner.changes(), _AT: _mark(chunk.position)}
        sent = sent_by(records, self._history.latest)
        if not work.store.add(Batch(records, chunk.position, chunk.previous, state, sent=sent)):
            raise _Overtaken
        self._hand_over(found)
        self._position = chunk.position
        lines = joiner.tally.lines - before[0] + len(chunk.entries)
        self._metrics.lines(lines, joiner.tally.unreadable - before[1])
        for record in records:
            self._metrics.delivery(record)
        if found:
            self._last_at = found[-1].at
            self._metrics.read_until(self._last_at)

    def _hand_over(self, found: list[Delivery]) -> None:
        for take in self._takers:
            take(found, self._history.latest)

    def _records(self, found: list[Delivery], facts: LogFacts) -> list[Record]:
        records = (record_of(each, self._history, facts.relayhost) for each in found)
        return [record for record in records if record is not None]

    def _tell(self, record: Record) -> None:
        key = (record.queue_id, record.recipient, record.at)
        if key in self._told:
            # The store did not take it last time, and the log was read again.
            return
        self._told[key] = None
        if len(self._told) > _MAX_TOLD:
            del self._told[next(iter(self._told))]
        log_event(
            _log,
            logging.WARNING,
            "weaker-delivery",
            tenant=record.tenant or "-",
            queue_id=record.queue_id,
            to=f"<{record.recipient}>",
            relay=f"{record.relay}[{record.address}]",
            service=record.service or "-",
            asked=record.asked,
            got=record.got,
        )

    def _fine(self) -> None:
        if self._trouble:
            log_event(_log, logging.INFO, "maillog-back", log=self._maillog)
        self._trouble = ""
        self._retry_s = 0.0

    def _tidy(self, store: DeliveryStore) -> None:
        if time.monotonic() < self._tidy_at:
            return
        self._tidy_at = time.monotonic() + TIDY_EVERY_S
        tidy_deliveries(store, time.time())


def tidy_deliveries(store: DeliveryStore, now: float) -> tuple[int, int]:
    """Fold old rows into counts and delete old counts; return how many of each.

    Raises:
        StoreUnavailable: If the store is.
    """
    return store.roll_up(now - KEEP_ROWS_S), store.prune(now - KEEP_DAYS_S)


def _mark(position: LogPosition) -> str:
    return f"{position.source} {position.offset} {position.cursor}"


def _was_read_by_others(work: _Work, chunk: Chunk) -> bool:
    """Tell whether somebody else, such as an ingest, has read what the joiner did not see."""
    remembered, work.remembered = work.remembered, None
    if remembered is None or chunk.previous is None:
        return False
    return remembered != _mark(chunk.previous)


def _entries(joiner: Joiner, chunk: Chunk) -> list[Delivery]:
    found = []
    for entry in chunk.entries:
        if not isinstance(entry, Entry):
            joiner.gap(entry.at)
        elif (delivery := joiner.take(entry)) is not None:
            found.append(delivery)
    return found
