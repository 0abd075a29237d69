"""The back role: what may be late. ``python -m gatepost.runtime.back --config FILE``.

Purpose: serve the metrics of all roles, keep the store small, follow the mail log. Mail never waits
for it.
Errors: see `gatepost.runtime.role`.
"""

from __future__ import annotations

import signal
from typing import Protocol

from gatepost.runtime.feedback.delivery_events import open_outcome_stores
from gatepost.runtime.feedback.event_outlets import EventOutlets
from gatepost.runtime.feedback.feedback_intake import FeedbackIntake
from gatepost.runtime.feedback.ladder import ladder_watch
from gatepost.runtime.feedback.status_book import StatusBook
from gatepost.runtime.feedback.suppression import SuppressionUpkeep
from gatepost.runtime.observer import Observer
from gatepost.runtime.paths import roles_of, traffic_path
from gatepost.runtime.role import OK, Role, run
from gatepost.runtime.signals import STOP_SIGNALS, catching, wait_for_stop
from gatepost.runtime.tls.promoted_watch import PromotedWatch
from gatepost.runtime.traffic.lane_events import LaneEvents
from gatepost.runtime.traffic.queue_watch import QueueWatch
from gatepost.runtime.traffic.refusals import RefusalBook
from gatepost.runtime.traffic.returns import ReturnWatch
from gatepost.runtime.traffic.shaping import ShapingWatch
from gatepost.runtime.traffic.sheet import TrafficSheet
from gatepost.runtime.upkeep import Upkeep
from gatepost.store import open_store
from gatepost.store.open import (
    open_deliveries,
    open_events,
    open_lanes,
    open_quotas,
    open_statuses,
    open_survey,
)
from gatepost.web.metrics import AllMetrics
from gatepost.web.server import MetricsServer


def main() -> None:
    """Run the role."""
    run("back", _serve, records=False)


def _serve(role: Role) -> int:
    settings = role.settings
    with catching(signal.SIGHUP, *STOP_SIGNALS) as signals:
        web = None
        if settings.metrics is not None:
            everybody = AllMetrics(role.metrics, settings.run_dir, roles_of(settings))
            web = MetricsServer(settings.metrics, everybody)
        upkeep = Upkeep(lambda: open_store(settings.state), role.metrics)
        suppression = SuppressionUpkeep(settings.state, role.current, role.metrics)
        shaping = _shaping(role)
        observer = _observer(role, shaping)
        sheet = TrafficSheet(traffic_path(settings.run_dir))
        queue = _queue(role, sheet)
        moves = LaneEvents(settings.run_dir, lambda: open_events(settings.state), role.metrics)
        promoted = PromotedWatch(
            lambda: role.current().tls.promoted.table,
            lambda: open_deliveries(settings.local_state),
            lambda: open_survey(settings.local_state),
            role.metrics,
        )
        postmaster = _postmaster(role)
        ladder = ladder_watch(settings, role.current, role.metrics)
        statuses = StatusBook(lambda: open_statuses(settings.state), role.metrics)
        returns = ReturnWatch(
            settings.postfix_config_dir,
            role.current,
            statuses.current,
            role.metrics,
            known=lambda: statuses.version() is not None,
        )
        intake = FeedbackIntake(role) if settings.intake_dir is not None else None
        outlets = EventOutlets(role)
        unsubscribe = _unsubscribe(role)
        details = {
            "metrics": str(settings.metrics or ""),
            "maillog": settings.maillog or "",
            "unsubscribe": str(settings.unsubscribe or ""),
        }
        role.details = lambda: {
            **details,
            **(observer.details() if observer else {}),
            **(queue.details() if queue else {}),
            **(intake.details() if intake else {}),
            **outlets.details(),
            "promoted_dropped": promoted.dropped(),
        }
        role.ready()
        wait_for_stop(role.reloader.request, signals)
        role.stopping()
        _stop(unsubscribe, intake)
        upkeep.stop()
        suppression.stop()
        promoted.stop()
        ladder.stop()
        returns.stop()
        statuses.stop()
        _stop(postmaster, outlets, observer, shaping, moves, queue, sheet)
        if web is not None:
            web.close()
    return OK


def _shaping(role: Role) -> ShapingWatch:
    settings = role.settings
    return ShapingWatch(
        lambda: open_lanes(settings.local_state),
        lambda: open_events(settings.state),
        role.current,
        role.metrics,
    )


class _Stops(Protocol):
    """What can be told to stop."""

    def stop(self) -> None:
        """Stop."""


def _stop(*those: _Stops | None) -> None:
    """Stop one after the other, as far as they run."""
    for each in those:
        if each is not None:
            each.stop()


# Most have neither of these, and HTTP takes a good part of the role's start to import.


def _postmaster(role: Role) -> _Stops | None:
    if role.settings.postmaster_token is None:
        return None
    from gatepost.runtime.feedback.postmaster import postmaster_watch  # noqa: PLC0415

    return postmaster_watch(role.settings, role.current, role.metrics)


def _unsubscribe(role: Role) -> _Stops | None:
    if role.settings.unsubscribe is None:
        return None
    from gatepost.runtime.feedback.unsubscribe import unsubscribe_server  # noqa: PLC0415

    return unsubscribe_server(role)


def _queue(role: Role, sheet: TrafficSheet) -> QueueWatch | None:
    settings = role.settings
    if settings.maillog is None:
        return None
    return QueueWatch(
        settings.maillog, settings.postfix_config_dir, role.current, sheet, role.metrics
    )


def _observer(role: Role, shaping: ShapingWatch) -> Observer | None:
    settings = role.settings
    if settings.maillog is None:
        return None
    observer = Observer(
        settings,
        role.metrics,
        role.current(),
        role.holder.loaded_at,
        lambda: open_deliveries(settings.local_state),
        lambda: open_outcome_stores(settings.state, settings.local_state),
        RefusalBook(lambda: open_quotas(settings.local_state)).add,
        takers=(shaping.take,),
    )
    role.on_reload.append(observer.reloaded)
    return observer


if __name__ == "__main__":
    main()
