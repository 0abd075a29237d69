"""What a pause would stop beside the tenant that is meant: asked before it is made.

Errors: none.
"""

from __future__ import annotations

from gatepost.feedback.status import Scope, Statuses
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import Tenant


def troubles(tenant: Tenant, snapshot: Snapshot, statuses: Statuses, now: float) -> list[str]:
    """Return what else would stand still if a tenant were paused."""
    found = []
    platform = snapshot.platform
    own = {platform.bounce_domain, platform.feedback_domain} - {None}
    owned = sorted(each for each in own if each and _owns(tenant, each))
    if owned:
        found.append(
            f"{tenant.id} is the platform's own tenant: it owns the domain of {owned[0]}; "
            "notices and whatever else the platform sends from there will wait, too"
        )
    others = [each for each in snapshot.tenants.by_id if each != tenant.id]
    if others and all(_is_paused(each, statuses, now) for each in others):
        found.append(f"{tenant.id} is the last tenant that is not paused: no tenant could send")
    return found


def _owns(tenant: Tenant, domain: str) -> bool:
    """Tell whether a domain is a tenant's, or below one of its sender domains."""
    while domain:
        if tenant.owns(domain):
            return True
        domain = domain.partition(".")[2]
    return False


def _is_paused(name: str, statuses: Statuses, now: float) -> bool:
    status = statuses.get(name)
    pause = status.pause_at(now) if status is not None else None
    return pause is not None and pause.scope is Scope.ALL
