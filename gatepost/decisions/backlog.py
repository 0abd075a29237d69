"""Whether more of a tenant's mail is taken while so much of it is outstanding.

Purpose: back-pressure: the client keeps what Postfix could not deliver soon, so that one tenant's
queue does not become everybody's.
Source: RFC 5321 §4.2.3 (450), RFC 3463 §3.8 (4.7.1).
Format: ``450 4.7.1 backlog of tenant acme is full: 20000 messages outstanding, at most 20000; try
again when some are delivered``.
Errors: none. A backlog that nobody knows is never full.
Security: the null sender always passes: a refused bounce is a lost one.
"""

from __future__ import annotations

from dataclasses import replace

from gatepost.decisions.actions import Reject
from gatepost.decisions.recipient import Verdict
from gatepost.modes import MAX_DETAIL, Feature, Mode, Observation
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import Tenant
from gatepost.traffic.burst import Cap
from gatepost.traffic.quota import Unit
from gatepost.traffic.state import Backlog, TrafficState


def is_full(backlog: Backlog | None, cap: Cap) -> bool:
    """Tell whether nothing more is taken.

    Args:
        backlog: What is outstanding, or None where nobody knows.
        cap: How much may be.
    """
    if backlog is None:
        return False
    return (backlog.messages if cap.unit is Unit.MESSAGES else backlog.recipients) >= cap.count


def over_cap(
    verdict: Verdict,
    tenant: Tenant,
    backlog: Backlog,
    cap: Cap,
    now: float,
    *,
    queue_id: str = "",
    sender: str = "",
) -> Verdict:
    """Return the answer to mail of a tenant whose backlog is full.

    Args:
        verdict: The answer so far, which lets it pass.
        tenant: Whose mail it is.
        backlog: What is outstanding.
        cap: How much may be.
        now: Unix time in seconds.
        queue_id: Queue id.
        sender: Envelope sender.
    """
    found = backlog.messages if cap.unit is Unit.MESSAGES else backlog.recipients
    text = (
        f"backlog of tenant {tenant.id} is full: {found} {cap.unit} outstanding, at most "
        f"{cap.count}; try again when some are delivered"
    )
    mode = tenant.modes.quota
    why = (*verdict.reasons, f"backlog: {text} (mode {mode})")
    if mode is Mode.ENFORCE:
        return replace(verdict, reject=Reject("450", "4.7.1", text), prepend=None, reasons=why)
    seen = Observation(now, tenant.id, Feature.QUOTA, "defer", text[:MAX_DETAIL], queue_id, sender)
    return replace(verdict, observations=(*verdict.observations, seen), reasons=why)


def decide_backlog(
    verdict: Verdict, sender: str, snapshot: Snapshot, now: float, traffic: TrafficState
) -> Verdict:
    """Return the answer to mail by what is outstanding of its tenant.

    Args:
        verdict: The answer so far.
        sender: Envelope sender, empty for the null sender.
        snapshot: The configuration.
        now: Unix time in seconds.
        traffic: What is outstanding.
    """
    if verdict.reject is not None:
        return verdict
    tenant = asks_for_backlog(verdict.tenant, sender, snapshot)
    if tenant is None:
        return verdict
    cap, backlog = snapshot.bursts.cap_of(tenant.id), traffic.backlog(tenant.id)
    if cap is None or backlog is None or not is_full(backlog, cap):
        return verdict
    return over_cap(verdict, tenant, backlog, cap, now, sender=sender)


def asks_for_backlog(tenant_id: str, sender: str, snapshot: Snapshot) -> Tenant | None:
    """Return the tenant whose backlog has to be looked at, or None if nobody's has to be."""
    if not sender or snapshot.bursts.cap_of(tenant_id) is None:
        return None
    tenant = snapshot.tenants.by_id.get(tenant_id)
    if tenant is None or tenant.modes.quota is Mode.OFF:
        return None
    return tenant
