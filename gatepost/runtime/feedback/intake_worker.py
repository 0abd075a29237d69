"""Read the mail that came back, in the order in which it came, and do what follows.

Purpose: between the spool and `effects`: a mail stays in the spool until everything that follows
from it is in the store, so whoever kills this at any moment only has it done again.
Format of the log line: ``feedback id=… kind=… format=… result=… reporter=… tenant=… message=…
reason="…"``, one for each mail and recipient.
Limits: a mail whose message is not in the book is tried again for 120 s, in which the milter's
recorder gets over any trouble but a long one; then it is taken for one that we did not send. A mail
whose signature cannot be checked for want of DNS is tried again for a day, then held. So is one
that kills its reader twice, or that a bug of ours meets twice. One second after trouble with the
store it is tried again, then at growing intervals up to 30 s.
Errors: none; what fails is logged, counted and tried again.
Security: see `reader_child` and `gatepost.feedback.trust`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from gatepost.errors import MalformedMessage, StoreUnavailable, Unavailable
from gatepost.feedback.report import Report
from gatepost.feedback.trust import Authentication, Judgement, Result
from gatepost.runtime.feedback.effects import Effects
from gatepost.runtime.feedback.feedback_metrics import IntakeMetrics
from gatepost.runtime.feedback.reader_process import ReaderGone
from gatepost.runtime.feedback.report_json import authentication_of, report_of
from gatepost.runtime.feedback.spool import Held, Spool, Spooled
from gatepost.runtime.log import log_event
from gatepost.runtime.metrics import Metrics
from gatepost.snapshot import Snapshot

LOOK_S = 2.0
BOOK_S = 120.0
ORIGIN_S = 86_400.0
FIRST_RETRY_S = 1.0
MAX_BOOK_RETRY_S = 10.0
MAX_ORIGIN_RETRY_S = 600.0
MAX_STORE_RETRY_S = 30.0
STOP_S = 5.0

_log = logging.getLogger("gatepost.intake")


class Reader(Protocol):
    """What reads mails."""

    def read(self, mail: Spooled, setup: dict[str, Any]) -> dict[str, Any]:
        """Return what `reader_child` answers."""

    def stop(self) -> None:
        """End it."""


def setup_of(snapshot: Snapshot, dns: tuple[str, ...], state: str) -> dict[str, Any]:
    """Return what `reader_child` has to know of a configuration.

    Args:
        snapshot: The configuration.
        dns: Name servers; empty for those of the host.
        state: URL of the store of TLS reports.
    """
    keyring = snapshot.keyring
    return {
        "keys": {str(number): key.hex() for number, key in keyring.keys.items()},
        "current": keyring.current,
        "token_header": snapshot.platform.token_header,
        "dns": list(dns),
        "reporters": sorted(snapshot.feedback.reporters),
        "state": state,
    }


class IntakeWorker:
    """Works through the spool on a thread of its own, until `stop`."""

    def __init__(
        self,
        spool: Spool,
        reader: Reader,
        effects: Effects,
        setup: Callable[[], dict[str, Any]],
        metrics: Metrics,
        counts: IntakeMetrics,
    ) -> None:
        """Start the thread.

        Args:
            spool: Where mails are.
            reader: What reads them.
            effects: What acts on them.
            setup: Returns what the reader has to know of the configuration in force.
            metrics: Where trouble with the store is counted.
            counts: Where mails and reports are counted.
        """
        self._spool = spool
        self._reader = reader
        self._effects = effects
        self._setup = setup
        self._metrics = metrics
        self._counts = counts
        # Id to when it is due and how long it waited.
        self._later: dict[str, tuple[float, float]] = {}
        self._crashed: set[str] = set()
        self._store_retry_s = 0.0
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="intake-worker", daemon=True)
        self._thread.start()

    def arrived(self) -> None:
        """Say that there is a mail."""
        self._wake.set()

    def stop(self) -> None:
        """End after the mail in hand."""
        self._stopping = True
        self._wake.set()
        self._thread.join(STOP_S)
        self._reader.stop()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                wait_s = self._round()
            except Unavailable as error:
                wait_s = self._unavailable(error)
            except Exception:
                # The thread must live; what it could not do it will try again.
                _log.exception("intake-worker-failed")
                wait_s = MAX_STORE_RETRY_S
            if not self._stopping:
                self._wake.wait(wait_s)
        self._effects.close()

    def _round(self) -> float:
        """Work through what is due; return for how long there is nothing to do."""
        waiting = self._spool.waiting()
        # What an operator has moved or removed is not waited for.
        self._later = {key: self._later[key] for key in waiting if key in self._later}
        self._crashed &= set(waiting)
        for mail_id in waiting:
            if self._stopping:
                break
            due, _ = self._later.get(mail_id, (0.0, 0.0))
            if due <= time.monotonic():
                self._one(mail_id)
                self._store_retry_s = 0.0
        now = time.monotonic()
        return min([LOOK_S, *(max(due - now, 0.0) for due, _ in self._later.values())])

    def _one(self, mail_id: str) -> None:
        try:
            mail = self._spool.find(mail_id)
            if mail is None:
                return
            answer = self._reader.read(mail, self._setup())
        except MalformedMessage as error:
            self._hold(mail_id, Held.UNREADABLE, str(error))
        except ReaderGone as gone:
            self._reader_gone(mail_id, gone)
        except OSError as error:
            log_event(_log, logging.ERROR, "intake-file", id=mail_id, reason=str(error))
            self._postpone(mail_id, MAX_BOOK_RETRY_S)
        else:
            self._answer_safely(mail, answer)

    def _answer_safely(self, mail: Spooled, answer: dict[str, Any]) -> None:
        """Do what follows; a mail that a bug of ours meets must not hold up all others."""
        try:
            self._answered(mail, answer)
        except (Unavailable, OSError):
            # That is no fault of this mail: nothing else could be done now either.
            raise
        except Exception as error:
            _log.exception("intake-worker-failed id=%s", mail.id)
            if mail.id in self._crashed:
                self._hold(mail.id, Held.CRASHED, f"internal error: {type(error).__name__}")
            else:
                self._crashed.add(mail.id)
                self._postpone(mail.id, MAX_BOOK_RETRY_S)

    def _answered(self, mail: Spooled, answer: dict[str, Any]) -> None:
        if "error" in answer:
            self._hold(mail.id, Held.UNREADABLE, str(answer["error"]))
            return
        age_s = time.time() - mail.envelope.at
        if "later" in answer:
            if age_s > ORIGIN_S:
                self._hold(mail.id, Held.UNREADABLE, str(answer["later"]))
                return
            log_event(
                _log, logging.WARNING, "feedback-later", id=mail.id, reason=str(answer["later"])
            )
            self._postpone(mail.id, MAX_ORIGIN_RETRY_S)
            return
        for number, each in enumerate(answer["reports"]):
            report = report_of(each["report"])
            proven = authentication_of(each["proven"])
            judgement = self._apply(mail, number, report, proven, last=age_s > BOOK_S)
            if judgement is None:
                self._postpone(mail.id, MAX_BOOK_RETRY_S)
                return
            if judgement.result is Result.OVER_LIMIT:
                self._hold(mail.id, Held.OVER_LIMIT, judgement.reason)
                return
        self._spool.done(mail.id)
        self._later.pop(mail.id, None)

    def _apply(
        self, mail: Spooled, number: int, report: Report, proven: Authentication, *, last: bool
    ) -> Judgement | None:
        key = f"{mail.id}.{number}"
        judgement = self._effects.apply(report, proven, key, mail.envelope.at, last=last)
        if judgement is None:
            return None
        self._counts.reports[report.kind.value, judgement.result.value]()
        log_event(
            _log,
            logging.INFO,
            "feedback",
            id=key,
            kind=report.kind.value,
            format=report.format,
            result=judgement.result.value,
            reporter=judgement.reporter or None,
            tenant=judgement.tenant or "-",
            message=None if report.token is None else report.token.token.message.hex(),
            reason=judgement.reason,
        )
        return judgement

    def _reader_gone(self, mail_id: str, gone: ReaderGone) -> None:
        self._counts.restarts[gone.reason.value]()
        log_event(_log, logging.ERROR, "feedback-reader", id=mail_id, reason=str(gone))
        if mail_id in self._crashed or gone.reason is Held.TIME:
            self._hold(mail_id, gone.reason, str(gone))
        else:
            # It may have been somebody else who killed the reader.
            self._crashed.add(mail_id)
            self._wake.set()

    def _hold(self, mail_id: str, reason: Held, text: str) -> None:
        gone = self._spool.hold(mail_id, reason, text)
        self._later.pop(mail_id, None)
        self._counts.quarantined[reason.value]()
        log_event(
            _log, logging.WARNING, "quarantine", id=mail_id, reason=reason.value, text=text[:500]
        )
        if gone:
            log_event(_log, logging.WARNING, "quarantine-full", deleted=len(gone), first=gone[0])

    def _postpone(self, mail_id: str, most_s: float) -> None:
        _, waited_s = self._later.get(mail_id, (0.0, 0.0))
        wait_s = min(waited_s * 2 or FIRST_RETRY_S, most_s)
        self._later[mail_id] = (time.monotonic() + wait_s, wait_s)

    def _unavailable(self, error: Unavailable) -> float:
        store = isinstance(error, StoreUnavailable)
        self._metrics.error("store" if store else "reader")
        if not self._store_retry_s:
            event = "store-unavailable" if store else "feedback-reader"
            log_event(_log, logging.WARNING, event, reason=str(error))
        self._store_retry_s = min(self._store_retry_s * 2 or FIRST_RETRY_S, MAX_STORE_RETRY_S)
        return self._store_retry_s
