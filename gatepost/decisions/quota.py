"""Which quotas a message counts for, and what is said when there is no room in one.

Purpose: facts to claims, and a shortage to an answer; `gatepost.traffic.counters` decides whether
there is room.
Source: RFC 5321 §4.2.3 (450, 550), RFC 3463 §3.8 (x.7.1); access(5), HOLD.
Format: ``450 4.7.1 quota of tenant acme is used up: 100 messages per minute, open again at
14:03:22 UTC``. A message that no window of that size will ever hold gets 550.
Errors: none.
Security: the null sender is never counted and always passes: a refused bounce is a lost one. So
whoever sends with a null sender is not bound by quotas.
Not handled: mail of nobody counts for no quota, the platform's included.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

from gatepost.decisions.actions import Reject
from gatepost.decisions.facts import CUT, MessageFacts
from gatepost.decisions.headers import values_of
from gatepost.decisions.recipient import Verdict
from gatepost.modes import MAX_DETAIL, Feature, Mode, Observation
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import Tenant, fold_login
from gatepost.traffic.quota import Claim, Limit, OverQuota, Shortage, campaign_name

_MAX_CAMPAIGN = 100
_MAX_TEXT = 200
_DAY_S = 86_400.0


def asks_for_quota(tenant_id: str, sender: str, snapshot: Snapshot) -> Tenant | None:
    """Return the tenant whose quotas have to be looked at, or None if nobody's have to be.

    Args:
        tenant_id: Tenant id, or empty.
        sender: Envelope sender, empty for the null sender.
        snapshot: The configuration.
    """
    if not tenant_id or not sender:
        return None
    tenant = snapshot.tenants.by_id.get(tenant_id)
    if tenant is None or tenant.modes.quota is Mode.OFF:
        return None
    return tenant


def claims_of(tenant: Tenant, login: str, snapshot: Snapshot) -> tuple[Claim, ...]:
    """Return what a message of a tenant counts for, but for its campaign.

    Args:
        tenant: The tenant.
        login: SASL login of the client, or empty.
        snapshot: The configuration.
    """
    shared = snapshot.quotas
    quota = shared.of(tenant.id)
    if quota.exempt:
        return ()
    found = _claims(f"tenant {tenant.id}", quota.limits)
    if login and quota.per_login:
        found += _claims(f"login {tenant.id} {fold_login(login)}", quota.per_login)
    if quota.group is not None:
        found += _claims(f"group {quota.group}", shared.groups.get(quota.group, ()))
    return found + _claims("platform", shared.platform)


def campaign_claims(tenant: Tenant, campaign: str, snapshot: Snapshot) -> tuple[Claim, ...]:
    """Return what a message of a campaign counts for; empty for one without."""
    quota = snapshot.quotas.of(tenant.id)
    if not campaign or not quota.per_campaign or quota.exempt:
        return ()
    name = campaign_name(tenant.id, campaign[:_MAX_CAMPAIGN])
    return _claims(name, quota.per_campaign)


def needs_end_of_message(snapshot: Snapshot) -> bool:
    """Tell whether any message has to be counted at its end."""
    quotas, tenants = snapshot.quotas, snapshot.tenants.by_id
    of_all = tenants if quotas.platform else quotas.tenants
    for id_ in of_all:
        own = quotas.of(id_)
        counted = quotas.platform or own.limits or own.per_login or own.group
        if counted and not own.exempt and tenants[id_].modes.quota is not Mode.OFF:
            return True
    return False


def counted_campaign(facts: MessageFacts, tenant: Tenant, snapshot: Snapshot) -> str:
    """Return the campaign that a message counts for, or empty if none has a quota."""
    if tenant.campaign_header is None or tenant.id not in snapshot.quotas.tenants:
        return ""
    if asks_for_quota(tenant.id, facts.sender, snapshot) is None:
        return ""
    values = values_of(facts.headers, tenant.campaign_header)
    campaign = values[0].strip(f"{CUT} \t\r\n")[:_MAX_CAMPAIGN] if values else ""
    return campaign if campaign_claims(tenant, campaign, snapshot) else ""


def counts_campaigns(snapshot: Snapshot) -> bool:
    """Tell whether the milter has to ask for room for any campaign."""
    tenants = snapshot.tenants.by_id
    return any(
        quota.per_campaign and not quota.exempt and tenants[id_].modes.quota is not Mode.OFF
        for id_, quota in snapshot.quotas.tenants.items()
    )


def over_quota(
    verdict: Verdict,
    tenant: Tenant,
    shortage: Shortage,
    now: float,
    *,
    queue_id: str = "",
    sender: str = "",
    hold: bool = False,
) -> Verdict:
    """Return the answer to a message that is over a quota.

    Args:
        verdict: The answer so far, which lets it pass.
        tenant: Whose message it is.
        shortage: Why there is no room.
        now: Unix time in seconds.
        queue_id: Queue id.
        sender: Envelope sender.
        hold: Whether Postfix is told to hold it instead.
    """
    reject = _refusal(shortage, now)
    mode = tenant.modes.quota
    why = (*verdict.reasons, f"quota: {reject.text} (mode {mode})")
    if mode is Mode.ENFORCE:
        if hold:
            return replace(verdict, hold=reject.text, reasons=why)
        return replace(verdict, reject=reject, prepend=None, reasons=why)
    action = "hold" if hold else "reject" if reject.code[0] == "5" else "defer"
    seen = Observation(
        now, tenant.id, Feature.QUOTA, action, reject.text[:MAX_DETAIL], queue_id, sender
    )
    return replace(verdict, observations=(*verdict.observations, seen), reasons=why)


def waits_at_rcpt(tenant: Tenant, snapshot: Snapshot) -> bool:
    """Tell whether a recipient over a quota is refused, so that a place has to be reserved."""
    return tenant.modes.quota is Mode.ENFORCE and not holds(tenant, snapshot)


def holds(tenant: Tenant, snapshot: Snapshot) -> bool:
    """Tell whether mail over a quota is put on hold."""
    return snapshot.quotas.of(tenant.id).over is OverQuota.HOLD


def opening(opens_in_s: float, now: float) -> str:
    """Return when a quota opens, in words.

    Args:
        opens_in_s: Seconds until then.
        now: Unix time in seconds.
    """
    # One second more than cut off: whoever comes back at the time that was named must be taken.
    at = dt.datetime.fromtimestamp(int(now + opens_in_s) + 1, dt.UTC)
    pattern = "%H:%M:%S UTC" if opens_in_s < _DAY_S / 2 else "%Y-%m-%d %H:%M:%S UTC"
    return at.strftime(pattern)


def _refusal(shortage: Shortage, now: float) -> Reject:
    claim = shortage.claim
    name = claim.name.encode("ascii", "backslashreplace").decode("ascii")
    name = "".join(each if each.isprintable() else "?" for each in name)[: _MAX_TEXT // 2]
    if shortage.opens_in_s is None:
        text = f"quota of {name} can never hold it: {claim.limit.words}"
        return Reject("550", "5.7.1", text)
    when = opening(shortage.opens_in_s, now)
    text = f"quota of {name} is used up: {claim.limit.words}, open again at {when}"
    return Reject("450", "4.7.1", text[:_MAX_TEXT])


def _claims(name: str, limits: tuple[Limit, ...]) -> tuple[Claim, ...]:
    return tuple(Claim(name, limit) for limit in limits)
