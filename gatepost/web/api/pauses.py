"""Pause and resume, as ``gatepost tenant pause`` and ``resume``.

Errors: `ProblemError`, `StoreUnavailable`.
"""

from __future__ import annotations

from fastapi import APIRouter

from gatepost.decisions.pausing import troubles
from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage
from gatepost.feedback.status import Part, Pause, Queued, Scope
from gatepost.store.open import open_statuses
from gatepost.web.api.models import PauseRequest, ResumeRequest, StatusView, status_view
from gatepost.web.api.problems import ProblemError, documented
from gatepost.web.api.rights import PlatformWriter, SiteOf, TenantId, no_tenant
from gatepost.web.api.site import Site
from gatepost.web.api.strict_route import PREFIX, StrictRoute

router = APIRouter(prefix=PREFIX, tags=["tenants"], route_class=StrictRoute)

_ANSWERS = documented("not-json", "not-found", "too-large", "wrong-type", "not-possible")


@router.post("/tenants/{tenant}/pause", summary="Pause a tenant", responses=_ANSWERS)
def pause(
    tenant: TenantId, given: PauseRequest, site: SiteOf, caller: PlatformWriter
) -> StatusView:
    """Let mail of a tenant wait, or a part of it; in force within a second in every process.

    It takes the place of a pause of the same part that there is.
    """
    _check_known(tenant, site)
    part = _part(given)
    scope = _scope(given, part)
    store = site.open(open_statuses)
    now = site.clock()
    in_force = site.current().tenants.by_id.get(tenant)
    if in_force is not None:
        if part.campaign and in_force.campaign_header is None:
            raise ProblemError(
                "not-possible",
                f"{tenant} has no header that names campaigns, so none is known",
                f"set tenants.{tenant}.feedback.campaign",
            )
        if scope is Scope.ALL and not given.confirm:
            for trouble in troubles(in_force, site.current(), store.all(), now):
                raise ProblemError("not-possible", trouble, "if that is meant, send confirm: true")
    until = None if given.seconds is None else now + given.seconds
    queued = _queued(given, scope)
    pause = Pause(scope, given.reason, now, until, caller.by, queued, part.campaign, part.domain)
    store.pause(tenant, pause)
    return _status(tenant, site)


@router.post("/tenants/{tenant}/resume", summary="Resume a tenant", responses=_ANSWERS)
def resume(
    tenant: TenantId, given: ResumeRequest, site: SiteOf, caller: PlatformWriter
) -> StatusView:
    """Take back all pauses and the step of the ladder; or one pause, of a campaign or a domain."""
    _check_known(tenant, site)
    part = _part(given)
    site.open(open_statuses).resume(
        tenant, site.clock(), caller.by, given.reason, None if part == Part() else part
    )
    return _status(tenant, site)


def _scope(given: PauseRequest, part: Part) -> Scope:
    if part == Part():
        return Scope(given.scope)
    if given.scope == Scope.MARKETING.value:
        raise ProblemError(
            "not-possible",
            "marketing mail is paused as a whole, not for a campaign or a domain",
            "leave scope out, or campaign and domain",
        )
    return part.scope


def _queued(given: PauseRequest, scope: Scope) -> Queued:
    if given.queued is None:
        return Queued.RETRY if scope is Scope.ALL else Queued.KEEP
    queued = Queued(given.queued)
    if queued is Queued.RETRY and scope is not Scope.ALL:
        raise ProblemError(
            "not-possible",
            "queued: retry is for a whole tenant: the map that defers queued mail knows its "
            "sender alone",
            "take keep, or hold",
        )
    return queued


def _part(given: PauseRequest | ResumeRequest) -> Part:
    campaign = given.campaign.strip()
    if given.campaign and not campaign:
        # Without it, it would be about all of the tenant's mail.
        raise ProblemError(
            "not-possible", "campaign: it is blank", "name one, or leave campaign out"
        )
    return Part(campaign, _domain(given.domain))


def _check_known(tenant: str, site: Site) -> None:
    if not site.knows(tenant):
        raise no_tenant(tenant)


def _domain(text: str) -> str:
    if not text:
        return ""
    try:
        return normalise_domain(text)
    except MalformedMessage as error:
        raise ProblemError(
            "not-possible", f"domain: {error}", "write one such as example.org"
        ) from error


def _status(tenant: str, site: Site) -> StatusView:
    status = site.open(open_statuses).find(tenant)
    in_force = site.current().tenants.by_id.get(tenant)
    return status_view(tenant, {tenant: status}, in_force, site.clock())
