"""Which lane a tenant's mail takes, and why.

Purpose: the one place where everything that moves mail to another lane meets. What is stronger
goes first: the slow lane of the ladder, the burst lane, a warm-up that is used up, the tenant's
own lane.
Errors: none.
Security: only the lane is chosen here. The TLS profile stays what it is, whatever the lane.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatepost.decisions.status import slow_lane
from gatepost.feedback.status import Statuses
from gatepost.modes import Feature, Mode
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import Tenant
from gatepost.traffic.lanes import DEFAULT_LANE
from gatepost.traffic.state import TrafficState


@dataclass(frozen=True, slots=True)
class Would:
    """Another lane that mail would take if a feature that is in mode observe were enforced.

    Attributes:
        feature: The feature.
        lane: The lane.
        why: The reason in words.
    """

    feature: Feature
    lane: str
    why: str


@dataclass(frozen=True, slots=True)
class LaneChoice:
    """Which lane mail takes.

    Attributes:
        lane: The lane.
        why: The reason in words.
        would: What features in mode observe would have chosen, the strongest first; what is
            weaker than the choice in force is not in it.
    """

    lane: str
    why: str
    would: tuple[Would, ...] = ()


def choose_lane(
    tenant: Tenant, snapshot: Snapshot, statuses: Statuses, traffic: TrafficState
) -> LaneChoice:
    """Return the lane by which a tenant's mail goes.

    Args:
        tenant: The tenant.
        snapshot: The configuration.
        statuses: Which tenants the ladder slows down.
        traffic: What is known of the traffic.
    """
    would: list[Would] = []
    if statuses and (status := statuses.get(tenant.id)) is not None:
        slow = slow_lane(status, snapshot.ladder)
        if slow is not None:
            why = f"ladder: {status.why}"
            if tenant.modes.ladder is Mode.ENFORCE:
                return LaneChoice(slow, why)
            if tenant.modes.ladder is Mode.OBSERVE:
                would.append(Would(Feature.LADDER, slow, why))
    mode = tenant.modes.lane
    if mode is Mode.OFF:
        return LaneChoice(DEFAULT_LANE, "lanes are off for it", tuple(would))
    lane, why = wanted_lane(tenant, snapshot, traffic)
    if mode is Mode.ENFORCE:
        return LaneChoice(lane, why, tuple(would))
    if lane != DEFAULT_LANE:
        would.append(Would(Feature.LANE, lane, why))
    return LaneChoice(DEFAULT_LANE, "lanes are observed only", tuple(would))


def wanted_lane(tenant: Tenant, snapshot: Snapshot, traffic: TrafficState) -> tuple[str, str]:
    """Return the lane that a tenant's mail takes if its lane is enforced, and why.

    Args:
        tenant: The tenant.
        snapshot: The configuration.
        traffic: What is known of the traffic.
    """
    moved = traffic.in_burst(tenant.id)
    if moved is not None and (burst := snapshot.bursts.burst_of(tenant.id)) is not None:
        return burst.lane, f"burst: {moved.why}"
    warmups = snapshot.warmups
    if warmups:
        for key in warmups.keys_of(tenant.id, tenant.lane):
            if traffic.over_warmup(key):
                return warmups.lane_above(key), f"warm-up of {key} is used up for today"
    return tenant.lane, "its own lane"
