"""The metric of what holds up tenants: how many are on each step of the ladder, or paused.

Source: see `metrics`, whose registry it is in.
Errors: none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from prometheus_client import Gauge

from gatepost.feedback.rules import Step
from gatepost.feedback.status import Scope, Statuses
from gatepost.modes import Mode
from gatepost.runtime.metrics import PREFIX, Metrics
from gatepost.snapshot import Snapshot

YES, NO = "yes", "no"
_PAUSES = {scope: f"operator-{scope.value}" for scope in Scope}

Show = Callable[[Statuses, Snapshot, float], None]


def watch_statuses(metrics: Metrics) -> Show:
    """Export how many tenants are held up; return what takes the present state."""
    gauge = Gauge(
        f"{PREFIX}tenants_held",
        "Tenants on a step of the ladder or paused by the operator, and whether it has an effect.",
        ["status", "effect"],
        registry=metrics.registry,
    )
    steps = [(step.keyword, effect) for step in Step if step for effect in (YES, NO)]
    pauses = [(name, YES) for name in _PAUSES.values()]

    def show(statuses: Statuses, snapshot: Snapshot, now: float) -> None:
        counts = _counted(statuses, snapshot, now)
        for key in (*steps, *pauses):
            gauge.labels(*key).set(counts[key])

    return show


def _counted(statuses: Statuses, snapshot: Snapshot, now: float) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    for name, status in statuses.items():
        tenant = snapshot.tenants.by_id.get(name)
        if tenant is None:
            continue
        if status.step and tenant.modes.ladder is not Mode.OFF:
            acts = tenant.modes.ladder is Mode.ENFORCE
            counts[status.step.keyword, YES if acts else NO] += 1
        for scope in {pause.scope for pause in status.pauses_at(now)}:
            counts[_PAUSES[scope], YES] += 1
    return counts
