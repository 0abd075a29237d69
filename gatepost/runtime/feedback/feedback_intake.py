"""What comes back, in the back role: the intake, its worker, and what keeps their books small.

Errors: `StartError` if the socket or the directory cannot be made.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from gatepost.errors import StartError
from gatepost.postfix.spec import INTAKE_SOCKET
from gatepost.runtime.feedback.effects import Effects, FeedbackStores, open_feedback_stores
from gatepost.runtime.feedback.feedback_metrics import files_in, watch_intake
from gatepost.runtime.feedback.intake import Intake
from gatepost.runtime.feedback.intake_worker import IntakeWorker, setup_of
from gatepost.runtime.feedback.reader_process import ReaderProcess
from gatepost.runtime.feedback.spool import Spool
from gatepost.runtime.hourly import Hourly
from gatepost.runtime.role import Role
from gatepost.snapshot import Snapshot
from gatepost.store.received import KEEP_ACTED_S


class FeedbackIntake:
    """Takes, reads and acts, until `stop`."""

    def __init__(self, role: Role) -> None:
        """Start all of it.

        Args:
            role: The role; its settings have a directory for the intake.

        Raises:
            StartError: If the directory is not as it must be, or the socket cannot be made.
        """
        settings = role.settings
        assert settings.intake_dir is not None
        try:
            spool = Spool(settings.intake_dir)
        except OSError as error:
            raise StartError(f"{settings.intake_dir}: {error.strerror or error}") from error

        def open_stores() -> FeedbackStores:
            return open_feedback_stores(settings.state, settings.local_state)

        counts = watch_intake(role.metrics, lambda: files_in(spool.new), lambda: held_in(spool))
        self._worker = IntakeWorker(
            spool,
            ReaderProcess(),
            Effects(open_stores, role.current),
            lambda: setup_of(role.current(), settings.dns_servers, settings.local_state),
            role.metrics,
            counts,
        )
        self._intake = Intake(
            role.place.socket_dir / INTAKE_SOCKET,
            settings.postfix_group,
            spool,
            role.current,
            counts,
            self._worker.arrived,
        )
        self._spool = spool

        def tidy() -> None:
            with contextlib.closing(open_stores()) as stores:
                prune(stores, spool, role.current(), time.time())

        self._upkeep = Hourly("feedback-upkeep", tidy, role.metrics)

    def stop(self) -> None:
        """Take no more mail, and end after the mail in hand."""
        self._intake.stop()
        self._worker.stop()
        self._upkeep.stop()

    def details(self) -> dict[str, Any]:
        """Return what ``gatepost status`` shows."""
        return {
            "intake_waiting": files_in(self._spool.new),
            "intake_quarantined": held_in(self._spool),
        }


def held_in(spool: Spool) -> int:
    """Return how many mails lie in quarantine; each has a file beside it that says why."""
    return (files_in(spool.quarantine) + 1) // 2


def prune(stores: FeedbackStores, spool: Spool, snapshot: Snapshot, now: float) -> None:
    """Delete what has been kept for long enough.

    Args:
        stores: The message book and the book of what was received.
        spool: Whose quarantine expires.
        snapshot: Says for how long.
        now: Unix time in seconds.

    Raises:
        StoreUnavailable: If the stores are.
    """
    rules = snapshot.feedback
    stores.messages.prune(now - rules.keep_messages_s)
    stores.received.prune(now - rules.keep_reports_s, now - KEEP_ACTED_S)
    with contextlib.suppress(OSError):
        spool.expire(now - rules.keep_reports_s)
