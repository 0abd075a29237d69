"""What commands know of quotas: the counters as they were last written, at most a second ago.

Purpose: shared counters are asked themselves; if that fails, it is said, and what this node has
counted is shown.
Errors: none; what keeps them from being known is returned as a sentence.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from gatepost.decisions.quota import (
    asks_for_quota,
    campaign_claims,
    claims_of,
    opening,
    waits_at_rcpt,
)
from gatepost.errors import CountersUnavailable, StoreUnavailable
from gatepost.runtime.traffic.steady_clock import SteadyClock, system_sources
from gatepost.settings import Settings
from gatepost.settings.model import Loaded
from gatepost.snapshot import Snapshot
from gatepost.store.open import is_missing, open_quotas
from gatepost.tenants.model import Tenant
from gatepost.traffic.alone import joined
from gatepost.traffic.counters import MemoryCounters
from gatepost.traffic.quota import Claim, Usage, campaign_name
from gatepost.traffic.valkey_target import Target


@dataclass(slots=True)
class Known:
    """The counters, and how late it is by their clock.

    Attributes:
        at: Seconds of their clock.
        names: Names of all counters that were kept.
        problems: Why they are not known, or empty.
    """

    at: float
    names: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    _counters: MemoryCounters = field(default_factory=MemoryCounters)
    _target: Target | None = None

    def usage(self, claims: Iterable[Claim]) -> list[Usage]:
        """Return how far quotas are used; a problem with that is added to the others."""
        wanted = list(claims)
        if self._target is not None:
            # The library is large, and needed by those only who share counters.
            from gatepost.traffic.valkey_look import usages  # noqa: PLC0415

            try:
                return usages(self._target, wanted)
            except CountersUnavailable as error:
                self.problems.append(_only_own(self._target, error))
        return self._counters.usage(wanted, self.at)


def known_quotas(settings: Settings) -> Known:
    """Return what is known of the counters."""
    known = _kept(settings)
    target = settings.counters
    if target is None:
        return known
    from gatepost.traffic.valkey_look import names  # noqa: PLC0415

    try:
        return replace(known, names=names(target), problems=[], _target=target)
    except CountersUnavailable as error:
        return replace(known, problems=[*known.problems, _only_own(target, error)])


def _only_own(target: Target, error: CountersUnavailable) -> str:
    return f"shown is what this node has counted: {target.shown} cannot be asked: {error}"


def _kept(settings: Settings) -> Known:
    """Return what the store has of the counters."""
    clock = SteadyClock(system_sources())
    try:
        if is_missing(settings.local_state):
            return Known(clock())
        with closing(open_quotas(settings.local_state, create=False)) as store:
            mark, rows = store.load()
    except (StoreUnavailable, PermissionError) as error:
        return Known(clock(), problems=[f"how far quotas are used is not known: {error}"])
    clock.resume(mark)
    counters = MemoryCounters()
    counters.load(joined(rows))
    return Known(clock(), {row.key[0] for row in rows}, [], counters)


def claims_to_show(tenant: Tenant, known: Known, snapshot: Snapshot) -> list[Claim]:
    """Return all that a tenant's mail counts for, with logins and campaigns that have counted."""
    found = dict.fromkeys(claims_of(tenant, "", snapshot))
    logins = {name.split(" ", 2)[2] for name in known.names if _is(name, "login", tenant)}
    for login in sorted(logins.union(tenant.logins)):
        found |= dict.fromkeys(claims_of(tenant, login, snapshot))
    prefix = campaign_name(tenant.id, "")
    for name in sorted(known.names):
        if name.startswith(prefix):
            campaign = name[len(prefix) :]
            found |= dict.fromkeys(campaign_claims(tenant, campaign, snapshot))
    return list(found)


@dataclass(frozen=True, slots=True)
class QuotaReport:
    """How far the quotas of one message are used, for `gatepost explain`.

    Attributes:
        document: For JSON.
        lines: For people.
        refuses: Whether the message would have to wait.
        problems: Why that is not known, or empty.
    """

    document: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    refuses: bool = False
    problems: list[str] = field(default_factory=list)


def quota_report(
    loaded: Loaded, tenant_id: str, sender: str, login: str, campaign: str
) -> QuotaReport:
    """Return how far the quotas of one message are used.

    Args:
        loaded: The configuration.
        tenant_id: Whose message it is, or empty.
        sender: Envelope sender.
        login: SASL login of the client, or empty.
        campaign: The campaign that it counts for, or empty.
    """
    snapshot = loaded.snapshot
    tenant = asks_for_quota(tenant_id, sender, snapshot)
    if tenant is None:
        return QuotaReport()
    claims = claims_of(tenant, login, snapshot) + campaign_claims(tenant, campaign, snapshot)
    if not claims:
        return QuotaReport()
    known = known_quotas(loaded.settings)
    usages = known.usage(claims)
    closed = any(usage.opens_in_s > 0 for usage in usages)
    refuses = closed and waits_at_rcpt(tenant, snapshot)
    return QuotaReport([document(each) for each in usages], lines(usages), refuses, known.problems)


def document(usage: Usage) -> dict[str, Any]:
    """Return how far a quota is used, for JSON."""
    is_open = usage.opens_in_s == 0
    return {
        "of": usage.claim.name,
        "quota": str(usage.claim.limit),
        "limit": usage.claim.limit.count,
        "window_s": usage.claim.limit.window_s,
        "unit": usage.claim.limit.unit.value,
        "used": usage.used,
        "open": is_open,
        "opens_in_s": round(usage.opens_in_s, 3),
    }


def lines(usages: Sequence[Usage]) -> list[str]:
    """Return how far quotas are used, a line each."""
    now = time.time()
    width = max((len(usage.claim.name) for usage in usages), default=0)
    found = []
    for usage in usages:
        limit = usage.claim.limit
        state = "open"
        if usage.opens_in_s > 0:
            state = f"used up, open again at {opening(usage.opens_in_s, now)}"
        found.append(f"{usage.claim.name:<{width}}  {limit}: {usage.used} used, {state}")
    return found


def _is(name: str, what: str, tenant: Tenant) -> bool:
    return name.startswith(f"{what} {tenant.id} ")
