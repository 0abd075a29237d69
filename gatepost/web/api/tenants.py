"""Tenants: which there are, and those of the API made, changed and deleted.

Source: RFC 9110 §8.8.3 and §13.1 (ETag, If-Match, If-None-Match), RFC 7396 (merge patch), RFC 6585
§3 (428).
Limits: `MAX_PAGE` tenants of a page.
Errors: `ProblemError`.
Security: a tenant that stands in a file is read-only here. A change is checked with all
configuration before it is stored, see `gatepost.runtime.tenant_writer`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Request, Response
from pydantic import BaseModel, ValidationError

from gatepost.runtime.api_token import revoke_of
from gatepost.runtime.feedback.known import known_statuses
from gatepost.runtime.tenant_writer import ALREADY, ChangeRefused, NeedsAttach, Overtaken
from gatepost.store.api_tenants import MAX_SETTINGS, ApiTenant, TenantChange
from gatepost.store.open import open_api_tokens
from gatepost.web.api.models import (
    NewTenant,
    TenantPage,
    TenantSummary,
    TenantView,
    effective,
    moment,
    status_view,
)
from gatepost.web.api.problems import ErrorModel, ProblemError, documented, told
from gatepost.web.api.rights import (
    AnyCaller,
    PlatformWriter,
    SiteOf,
    TenantCaller,
    TenantId,
    no_tenant,
)
from gatepost.web.api.site import Site
from gatepost.web.api.strict_route import PREFIX, StrictRoute
from gatepost.web.api.tenant_model import PATCH, SETTINGS, settings_text

MAX_PAGE = 1000

router = APIRouter(prefix=PREFIX, tags=["tenants"], route_class=StrictRoute)


Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="At most so many.")]
IfMatch = Annotated[
    str | None,
    Header(max_length=200, description="The ETag of the version that is to be changed, or `*`."),
]
IfNoneMatch = Annotated[
    str | None, Header(max_length=200, description="`*`: make it, and replace none.")
]
_CHANGES = (
    "not-json", "not-found", "of-a-file", "exists", "needs-attach", "files-broken", "busy",
    "changed-meanwhile", "too-large", "wrong-type", "not-possible",
)  # fmt: skip


@router.get("/tenants", summary="List tenants", responses=documented("not-possible"))
def list_tenants(
    site: SiteOf,
    caller: AnyCaller,
    limit: Limit = 100,
    cursor: Annotated[
        str, Query(max_length=31, description="`next` of the page before.", pattern="^[a-z0-9-]*$")
    ] = "",
) -> TenantPage:
    """List the tenants in force, in the order of their ids; of a tenant's token, that one alone."""
    tenants = site.current().tenants.by_id
    ids = sorted(each for each in tenants if caller.is_platform or each == caller.tenant)
    after = [each for each in ids if each > cursor]
    api = site.api_ids()
    shown = after[:limit]
    return TenantPage(
        tenants=[
            TenantSummary(
                id=each,
                source="api" if each in api else "file",
                profile=tenants[each].profile,
                lane=tenants[each].lane,
            )
            for each in shown
        ],
        next=shown[-1] if len(after) > limit else None,
    )


@router.post(
    "/tenants",
    status_code=201,
    summary="Make a tenant",
    responses=documented(*_CHANGES),
)
def make_tenant(
    given: NewTenant, request: Request, response: Response, site: SiteOf, caller: PlatformWriter
) -> TenantView:
    """Make a tenant. It is in force in all processes of all nodes within two seconds."""
    text = _text(given.settings)

    def decide(known: Mapping[str, ApiTenant]) -> Sequence[TenantChange]:
        if given.id in known:
            raise ProblemError("exists", f"there is a tenant {given.id} already")
        return [TenantChange(given.id, text)]

    _change(site, decide, caller.by)
    response.headers["Location"] = f"{request.url.path}/{given.id}"
    return _view(given.id, site, response)


@router.get(
    "/tenants/{tenant}", summary="Show a tenant", responses=documented("not-found", "not-possible")
)
def show_tenant(
    tenant: TenantId, response: Response, site: SiteOf, caller: TenantCaller
) -> TenantView:
    """Show one tenant, its settings and its status."""
    del caller
    return _view(tenant, site, response)


@router.put(
    "/tenants/{tenant}",
    summary="Make or replace a tenant",
    responses={
        **documented(*_CHANGES, "condition-missing"),
        201: {"model": TenantView, "description": "It was made"},
    },
)
def put_tenant(
    tenant: TenantId,
    given: SETTINGS,  # type: ignore[valid-type]
    response: Response,
    site: SiteOf,
    caller: PlatformWriter,
    if_match: IfMatch = None,
    if_none_match: IfNoneMatch = None,
) -> TenantView:
    """Make a tenant or replace its settings as a whole.

    To replace them needs `If-Match` with the ETag that was read, so that a change by somebody else
    is not lost. The same request again changes nothing.
    """
    text = _text(given)
    made = False

    def decide(known: Mapping[str, ApiTenant]) -> Sequence[TenantChange]:
        nonlocal made
        present = known.get(tenant)
        made = present is None
        if present is not None and present.settings == text:
            # As after a request whose answer was lost.
            return []
        _check_conditions(tenant, present, if_match, if_none_match)
        if present is not None and if_match is None:
            raise ProblemError(
                "condition-missing",
                f"there is a tenant {tenant}",
                "send If-Match with its ETag, or If-None-Match: * to replace none",
            )
        return [TenantChange(tenant, text)]

    _change(site, decide, caller.by)
    if made:
        response.status_code = 201
    return _view(tenant, site, response)


@router.patch(
    "/tenants/{tenant}", summary="Change settings of a tenant", responses=documented(*_CHANGES)
)
def patch_tenant(
    tenant: TenantId,
    given: Annotated[PATCH, Body(media_type="application/merge-patch+json")],  # type: ignore[valid-type]
    response: Response,
    site: SiteOf,
    caller: PlatformWriter,
    if_match: IfMatch = None,
) -> TenantView:
    """Change some settings and leave the others (RFC 7396); null takes one away."""
    patch = given.model_dump(exclude_unset=True)  # type: ignore[attr-defined]

    def decide(known: Mapping[str, ApiTenant]) -> Sequence[TenantChange]:
        present = _present(tenant, known, site)
        _check_conditions(tenant, present, if_match, None)
        merged = _merged(json.loads(present.settings), patch)
        try:
            SETTINGS.model_validate(merged)
        except ValidationError as error:
            raise _invalid(error) from error
        text = _text(merged)
        return [] if text == present.settings else [TenantChange(tenant, text)]

    _change(site, decide, caller.by)
    return _view(tenant, site, response)


@router.delete(
    "/tenants/{tenant}",
    status_code=204,
    summary="Delete a tenant",
    responses=documented(*(word for word in _CHANGES if word not in {"not-json", "wrong-type"})),
)
def delete_tenant(
    tenant: TenantId, site: SiteOf, caller: PlatformWriter, if_match: IfMatch = None
) -> None:
    """Delete a tenant.

    Mail of it that is still in Postfix's queue goes on as mail of nobody, by Postfix's own TLS
    level: first pause it, and wait until its queue is empty or purge it. Its tokens are revoked;
    its suppression list, its events and its status stay.
    """

    def decide(known: Mapping[str, ApiTenant]) -> Sequence[TenantChange]:
        present = _present(tenant, known, site)
        _check_conditions(tenant, present, if_match, None)
        return [TenantChange(tenant, None)]

    try:
        _change(site, decide, caller.by)
    except ProblemError as error:
        if error.word == "not-found":
            # The one before may have been broken off between the two.
            revoke_of(site.open(open_api_tokens), tenant)
        raise
    revoke_of(site.open(open_api_tokens), tenant)


def _change(site: Site, decide: Any, by: str) -> None:
    try:
        written = site.writer.change(decide, by, site.current())
    except ChangeRefused as error:
        raise _refused(error) from error
    except NeedsAttach as error:
        raise ProblemError(
            "needs-attach",
            "; ".join(error.shortfalls),
            "give a tenant in a file the same, run gatepost attach, and try again",
        ) from error
    except Overtaken as error:
        raise ProblemError("busy", str(error), "try again") from error
    if written.snapshot is not None:
        site.reload()


def _refused(error: ChangeRefused) -> ProblemError:
    if error.of_files:
        return ProblemError(
            "files-broken",
            "no tenant can be changed while the files of the configuration have errors",
            "run gatepost check, and mend them",
            errors=told(error.errors),
        )
    first = error.errors[0]
    if first.problem.startswith(ALREADY):
        return _of_a_file(first.problem.removeprefix(ALREADY))
    return ProblemError("not-possible", str(first), errors=told(error.errors))


def _of_a_file(place: str) -> ProblemError:
    return ProblemError(
        "of-a-file",
        f"the tenant stands in {place}",
        "change it there, or take it out there and make it here",
    )


def _present(tenant: str, known: Mapping[str, ApiTenant], site: Site) -> ApiTenant:
    found = known.get(tenant)
    if found is None and site.is_of_a_file(tenant):
        raise _of_a_file(site.writer.place_of(tenant) or "a file")
    if found is None:
        raise no_tenant(tenant)
    return found


def _check_conditions(
    tenant: str, present: ApiTenant | None, if_match: str | None, if_none_match: str | None
) -> None:
    if if_none_match is not None and (if_none_match.strip() != "*" or present is not None):
        what = "is one" if present is not None else "is no other condition than *"
        raise ProblemError("changed-meanwhile", f"If-None-Match: there {what}")
    if if_match is None:
        return
    if present is None:
        raise ProblemError("changed-meanwhile", f"there is no tenant {tenant} any more")
    if if_match.strip() != "*" and etag(present) not in map(str.strip, if_match.split(",")):
        raise ProblemError(
            "changed-meanwhile",
            f"its ETag is {etag(present)} now",
            "read it again, and make the change to that",
        )


def etag(tenant: ApiTenant) -> str:
    """Return the ETag of a tenant."""
    return f'"{tenant.version}"'


def _merged(present: dict[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a merge patch makes of an object."""
    found = dict(present)
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        elif isinstance(value, dict):
            inner = found.get(name)
            found[name] = _merged(inner if isinstance(inner, dict) else {}, value)
        else:
            found[name] = value
    return found


def _text(given: BaseModel | Mapping[str, Any]) -> str:
    text = settings_text(given)
    if len(text) > MAX_SETTINGS:
        raise ProblemError("too-large", f"settings may have {MAX_SETTINGS} octets")
    return text


def _invalid(error: ValidationError) -> ProblemError:
    errors = [
        ErrorModel(file="body", path=".".join(map(str, each["loc"])), problem=each["msg"])
        for each in error.errors()
    ]
    return ProblemError("not-possible", "the settings are not possible", errors=errors)


def _view(tenant: str, site: Site, response: Response) -> TenantView:
    stored = site.api_tenant(tenant)
    in_force = site.current().tenants.by_id.get(tenant)
    if stored is None and (in_force is None or tenant in site.api_ids()):
        raise no_tenant(tenant)
    statuses, problems = known_statuses(site.settings)
    if problems:
        raise ProblemError("unavailable", problems[0])
    if stored is not None:
        response.headers["ETag"] = etag(stored)
    is_in_force = in_force is not None and (
        stored is None or site.settings_in_force(tenant) == stored.settings
    )
    return TenantView(
        id=tenant,
        source="file" if stored is None else "api",
        in_force=is_in_force,
        version=None if stored is None else stored.version,
        changed_at=None if stored is None else moment(stored.at),
        changed_by=None if stored is None else stored.by,
        settings=None if stored is None else json.loads(stored.settings),
        effective=None if in_force is None else effective(in_force),
        status=status_view(tenant, statuses, in_force, site.clock()),
    )
