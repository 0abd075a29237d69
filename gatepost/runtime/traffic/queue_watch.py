"""What is outstanding of each tenant: the back role follows the log for it, and says it to others.

Purpose: a backlog must be a second old and not a minute, and must not depend on a store that may be
locked or slow. So this reads the log by itself, from its end on, beside the observer, who reads all
of it and stores what it says.
Source: postqueue(1) -j tells what was there before, and puts right what was missed since.
Format: section ``backlog`` of ``traffic.json``, see `reading`.
Limits: the log is looked at four times a second, the section written once a second. The whole
queue is listed at the start, every `SURVEY_S`, and every `SOON_S` while it holds more than `MANY`
messages whose tenant only their sender tells and that were never tried; and never takes more than
a tenth of the time. After postsuper(1), or lines that were lost, it is listed again at once.
Errors: none. While the log cannot be read, there is no section: nothing is known. That is said once
(``backlog-unreadable``), and tried again after 1 s, then at growing intervals up to 30 s. A queue
that cannot be listed leaves what the log has said since the start; that is said once, too
(``queue-unlisted``).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from prometheus_client import Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gatepost.decisions.transport import tenant_at_delivery
from gatepost.errors import LogUnavailable, PostfixUnavailable, Unavailable
from gatepost.maillog.follow import JOURNAL, Chunk, FileFollower, JournalFollower, end_of
from gatepost.maillog.lines import Entry, stamp_of
from gatepost.maillog.queue_lines import (
    PROGRAMS,
    QueueLine,
    parse_queue_entry,
    parse_queue_line,
)
from gatepost.maillog.stamps import Clock
from gatepost.postfix.queue import QueuedMessage, read_queue
from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import PREFIX, Metrics
from gatepost.runtime.traffic.reading import BACKLOG, MAX_TOLD
from gatepost.runtime.traffic.sheet import TrafficSheet, since_boot
from gatepost.snapshot import Snapshot
from gatepost.tenants.client import Client
from gatepost.tenants.identity import identify
from gatepost.traffic.backlog import MAX_MESSAGES, QueueBook, Queued

LOOK_S: Final = 0.25
TELL_EVERY_S: Final = 1.0
SURVEY_S: Final = 300.0
SOON_S: Final = 60.0
AT_ONCE_S: Final = 2.0
MANY: Final = 1_000
SHARE: Final = 10.0
RETRY_FIRST_S: Final = 1.0
RETRY_MAX_S: Final = 30.0
LABELS: Final = 20
_OUTSTANDING = frozenset({"incoming", "active", "deferred"})

_log = logging.getLogger("gatepost.traffic")


class Follower(Protocol):
    """What gives the lines of a log."""

    def read(self) -> Chunk | None:
        """Return the next lines, or None if there are none yet."""

    def close(self) -> None:
        """Let go of the log."""


def follow_from_end(maillog: str) -> Follower:
    """Return what gives the lines of a log that are written from now on.

    Args:
        maillog: The setting: a path, or ``journal``.

    Raises:
        LogUnavailable: If it cannot be read.
    """
    if maillog == JOURNAL:
        return JournalFollower(None, programs=PROGRAMS)
    path = Path(maillog)
    return FileFollower(path, end_of(path))


@dataclass(slots=True)
class _Survey:
    """A look at the whole queue, on a thread of its own."""

    began_at: float
    thread: threading.Thread | None = None
    found: list[Queued] | None = None
    whole: bool = True
    trouble: str = ""


class QueueWatch:
    """Follows the log on a thread of its own, until `stop`."""

    def __init__(
        self,
        maillog: str,
        config_dir: Path,
        current: Callable[[], Snapshot],
        sheet: TrafficSheet,
        metrics: Metrics,
        *,
        open_log: Callable[[str], Follower] = follow_from_end,
        list_queue: Callable[[Path], Iterable[QueuedMessage]] = read_queue,
    ) -> None:
        """Start the thread.

        Args:
            maillog: The setting: a path, or ``journal``.
            config_dir: Postfix's configuration directory.
            current: Returns the configuration in force.
            sheet: Where to say it.
            metrics: Where to count.
            open_log: Opens the log at its end.
            list_queue: Lists the queue.
        """
        self._maillog = maillog
        self._config_dir = config_dir
        self._current = current
        self._sheet = sheet
        self._metrics = metrics
        self._open_log = open_log
        self._list_queue = list_queue
        self._book = QueueBook(self._of_sender, self._of_client)
        self._reader = ""
        self._survey: _Survey | None = None
        self._survey_at = self._took = 0.0
        self._survey_soon = False
        self._surveyed = False
        self._corrected = 0
        self._told_at = 0.0
        self._as_of = 0.0
        self._troubles: dict[str, str] = {}
        self._largest: list[tuple[str, int]] = []
        self._stamps = Clock(time.time())
        metrics.registry.register(_Largest(self, metrics))
        self._watched()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="queue", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(timeout_s)

    def details(self) -> dict[str, Any]:
        """Return what ``gatepost status`` shows."""
        return {
            "queue": {
                "messages": len(self._book),
                "tenants": dict(self._largest),
                "untold": self._book.untold,
                "corrected": self._corrected,
                "behind_s": round(max(since_boot() - self._as_of, 0.0), 1) if self._as_of else None,
                "trouble": "; ".join(self._troubles.values()),
            }
        }

    def largest(self) -> list[tuple[str, int]]:
        """Return the tenants with the most messages outstanding, and how many."""
        return self._largest

    def _run(self) -> None:
        retry_s = 0.0
        while not self._stop.is_set():
            began = since_boot()
            try:
                self._follow()
            except LogUnavailable as error:
                self._trouble("backlog-unreadable", str(error))
                self._metrics.error("maillog")
            except Exception as error:
                # The thread must live.
                _log.exception("queue-watch-failed")
                self._trouble("backlog-unreadable", str(error))
                self._metrics.error("traffic")
            else:
                continue
            self._sheet.remove(BACKLOG)
            self._as_of = 0.0
            if since_boot() - began > RETRY_MAX_S:
                retry_s = 0.0
            retry_s = min(retry_s * 2 or RETRY_FIRST_S, RETRY_MAX_S)
            self._stop.wait(retry_s)

    def _follow(self) -> None:
        """Follow the log from its end on, until told to stop, or until something fails."""
        follower = self._open_log(self._maillog)
        try:
            self._book = QueueBook(self._of_sender, self._of_client)
            self._reader = f"{since_boot():.6f}"
            self._surveyed = False
            self._begin_survey()
            while not self._stop.is_set():
                now = since_boot()
                chunk = follower.read()
                self._fine("backlog-unreadable")
                if chunk is None:
                    self._as_of = now
                else:
                    self._take(chunk, now)
                self._look_at_survey()
                if self._surveyed and now - self._told_at >= TELL_EVERY_S:
                    self._tell(now)
                if chunk is None:
                    self._stop.wait(LOOK_S)
        finally:
            follower.close()

    def _take(self, chunk: Chunk, now: float) -> None:
        wall = time.time()
        self._stamps.move(wall)
        for line in _lines_of(chunk):
            self._book.take(line, wall)
        at = self._last_stamp(chunk)
        if at is not None:
            # A step of the clock makes this wrong once, for lines of before it.
            self._as_of = now - min(max(wall - at, 0.0), SURVEY_S)
        # postsuper(1) names no message that it deletes with all others.
        if chunk.gap or _is_by_postsuper(chunk):
            self._survey_soon = True

    def _last_stamp(self, chunk: Chunk) -> float | None:
        if chunk.entries:
            return chunk.entries[-1].at
        return stamp_of(chunk.lines[-1], self._stamps) if chunk.lines else None

    def _tell(self, now: float) -> None:
        self._told_at = now
        wall = time.time()
        told = self._book.told(wall, MAX_TOLD)
        rows = {
            tenant_id: [
                each.backlog.messages,
                each.backlog.recipients,
                round(each.backlog.oldest, 1),
                each.arrived,
                each.others,
            ]
            for tenant_id, each in told.items()
        }
        largest = sorted(rows.items(), key=lambda item: item[1][0], reverse=True)[:LABELS]
        self._largest = [(tenant_id, int(row[0])) for tenant_id, row in largest if row[0]]
        whole = len(rows) < MAX_TOLD
        data = {"as_of": self._as_of, "reader": self._reader, "whole": whole, "tenants": rows}
        self._sheet.put(BACKLOG, data)

    def _begin_survey(self) -> None:
        self._survey_soon = False
        self._book.begin_survey()
        survey = self._survey = _Survey(since_boot())
        survey.thread = threading.Thread(
            target=self._list, args=(survey,), name="queue-list", daemon=True
        )
        survey.thread.start()

    def _list(self, survey: _Survey) -> None:
        try:
            found: list[Queued] = []
            for each in self._list_queue(self._config_dir):
                if each.queue_name not in _OUTSTANDING:
                    continue
                if len(found) >= MAX_MESSAGES:
                    # As many as the book remembers: a longer list would only take memory.
                    survey.whole = False
                    break
                sender, recipients = each.sender, len(each.recipients)
                found.append(Queued(each.queue_id, sender, recipients, float(each.arrival)))
            survey.found = found
        except PostfixUnavailable as error:
            survey.trouble = str(error)
        except Exception as error:
            _log.exception("queue-list-failed")
            survey.trouble = str(error)

    def _look_at_survey(self) -> None:
        """Take in a survey that has ended, or begin one whose time has come."""
        survey, now = self._survey, since_boot()
        if survey is None:
            wait = SOON_S if self._book.untold > MANY else SURVEY_S
            wait = AT_ONCE_S if self._survey_soon else wait
            if now >= self._survey_at + max(wait, self._took * SHARE):
                self._begin_survey()
            return
        if survey.thread is not None and survey.thread.is_alive():
            return
        self._survey = None
        self._survey_at, self._took = now, now - survey.began_at
        wrong = self._book.end_survey(survey.found, time.time(), whole=survey.whole)
        if survey.found is None:
            self._trouble("queue-unlisted", survey.trouble)
        else:
            self._fine("queue-unlisted")
        if self._surveyed:
            self._corrected += wrong
        self._surveyed = True

    def _of_sender(self, sender: str) -> str:
        try:
            tenant, _ = tenant_at_delivery(sender, self._current(), time.time())
        except Unavailable:
            return ""
        return "" if tenant is None else tenant.id

    def _of_client(self, login: str, address: str) -> str:
        tenant = identify(Client(login=login, address=address), self._current().tenants).tenant
        return "" if tenant is None else tenant.id

    def _trouble(self, word: str, reason: str) -> None:
        if word not in self._troubles:
            log_event(_log, logging.WARNING, word, reason=reason)
        self._troubles[word] = reason

    def _fine(self, word: str) -> None:
        if self._troubles.pop(word, None) is not None:
            log_event(_log, logging.INFO, f"{word}-no-more")

    def _watched(self) -> None:
        for name, text, value in (
            ("queue_messages", "Messages outstanding.", lambda: float(len(self._book))),
            (
                "queue_untold_messages",
                "Messages whose tenant is not known, as they were not tried yet.",
                lambda: float(self._book.untold),
            ),
            (
                "queue_corrected_messages",
                "Messages that Postfix's list had, or had not, unlike the log.",
                lambda: float(self._corrected),
            ),
        ):
            Gauge(PREFIX + name, text, registry=self._metrics.registry).set_function(value)


class _Largest(Collector):
    """The largest backlogs, by tenant."""

    def __init__(self, watch: QueueWatch, metrics: Metrics) -> None:
        self._watch = watch
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """Return the family."""
        found = GaugeMetricFamily(
            PREFIX + "backlog_messages",
            f"Messages outstanding, of the {LABELS} tenants that have the most.",
            labels=["tenant"],
        )
        counts: dict[str, int] = {}
        for tenant_id, messages in self._watch.largest():
            label = self._metrics.tenant_label(tenant_id)
            counts[label] = counts.get(label, 0) + messages
        for label, messages in counts.items():
            found.add_metric([label], messages)
        yield found


def _is_by_postsuper(chunk: Chunk) -> bool:
    return any(b"/postsuper[" in line for line in chunk.lines) or any(
        isinstance(entry, Entry) and entry.program == "postsuper" for entry in chunk.entries
    )


def _lines_of(chunk: Chunk) -> Iterator[QueueLine]:
    for line in chunk.lines:
        if (found := parse_queue_line(line)) is not None:
            yield found
    for entry in chunk.entries:
        if isinstance(entry, Entry) and (
            found := parse_queue_entry(entry.program, entry.pid, entry.text)
        ):
            yield found
