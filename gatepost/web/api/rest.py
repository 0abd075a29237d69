"""Status, quotas, events, and what becomes of a message.

Errors: `ProblemError`, `StoreUnavailable`.
Security: a tenant's token sees of the quotas its own alone, since those that it shares tell how
much others send; and an explanation only of a message that is known to be its own, by what the
tenant itself logs in with, and of its delivery only where the envelope sender names it, too.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.concurrency import run_in_threadpool

from gatepost.decisions.explain import Case
from gatepost.decisions.facts import Header
from gatepost.feedback.events import EventKind, as_data
from gatepost.runtime.api_token import Caller
from gatepost.runtime.explaining import decide, look_for
from gatepost.runtime.traffic.known_quotas import Known, claims_to_show, document, known_quotas
from gatepost.settings import kinds
from gatepost.settings.problems import Rejected
from gatepost.snapshot import Snapshot
from gatepost.store.open import open_events
from gatepost.tenants.client import Client
from gatepost.tenants.identity import identify
from gatepost.tenants.model import Tenant
from gatepost.traffic.quota import Claim
from gatepost.web.api.models import (
    EventPage,
    EventView,
    ExplainRequest,
    QuotasView,
    QuotaView,
)
from gatepost.web.api.problems import ProblemError, documented
from gatepost.web.api.rights import (
    AnyCaller,
    PlatformCaller,
    SiteOf,
    TenantCaller,
    TenantId,
)
from gatepost.web.api.site import Site
from gatepost.web.api.strict_route import PREFIX, StrictRoute

MAX_PAGE = 1000

router = APIRouter(prefix=PREFIX, route_class=StrictRoute)

Kinds = Annotated[
    list[EventKind] | None, Query(alias="type", max_length=20, description="Only these types.")
]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="At most so many.")]
Cursor = Annotated[
    str, Query(max_length=18, pattern="^[0-9]*$", description="`next` of the page before.")
]
# What follows from the envelope sender alone.
_DELIVERY = ("route", "tls", "policy", "waits", "lane")
_OBJECT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The document of the command with `--json`",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}


@router.get(
    "/status",
    tags=["status"],
    summary="Show how everything is",
    response_class=Response,
    responses={**documented(), **_OBJECT},
)
def show_status(site: SiteOf, caller: PlatformCaller) -> Response:
    """Show what `gatepost status --json` shows, but for the files on disk, which are not read."""
    del caller
    return _plain(site.status())


@router.get("/quotas", tags=["quotas"], summary="Show shared quotas", responses=documented())
def show_shared(site: SiteOf, caller: PlatformCaller) -> QuotasView:
    """Show how far the quotas of groups and of the platform are used."""
    del caller
    quotas = site.current().quotas
    claims = [Claim(f"group {name}", each) for name, them in quotas.groups.items() for each in them]
    claims += [Claim("platform", each) for each in quotas.platform]
    known = known_quotas(site.settings)
    return _quotas(known, claims)


@router.get(
    "/tenants/{tenant}/quotas",
    tags=["quotas"],
    summary="Show a tenant's quotas",
    responses=documented("not-found", "not-possible"),
)
def show_quotas(tenant: TenantId, site: SiteOf, caller: TenantCaller) -> QuotasView:
    """Show how far quotas of a tenant, its logins and its campaigns are used.

    With a token for the platform, also those of its group and of the platform.
    """
    snapshot = site.current()
    found = snapshot.tenants.by_id.get(tenant)
    if found is None:
        return QuotasView(quotas=[], problems=[])
    known = known_quotas(site.settings)
    claims = [
        each
        for each in claims_to_show(found, known, snapshot)
        if caller.is_platform or _is_own(each, found)
    ]
    return _quotas(known, claims)


@router.get("/events", tags=["events"], summary="Read events", responses=documented("not-possible"))
def list_events(
    site: SiteOf,
    caller: PlatformCaller,
    cursor: Cursor = "",
    limit: Limit = 100,
    kinds: Kinds = None,
) -> EventPage:
    """Read the stream of events from a place on, the oldest first."""
    del caller
    return _events(site, None, cursor, limit, kinds)


@router.get(
    "/tenants/{tenant}/events",
    tags=["events"],
    summary="Read a tenant's events",
    responses=documented("not-found", "not-possible"),
)
def list_events_of(
    tenant: TenantId,
    site: SiteOf,
    caller: TenantCaller,
    cursor: Cursor = "",
    limit: Limit = 100,
    kinds: Kinds = None,
) -> EventPage:
    """Read the events of one tenant from a place on, the oldest first."""
    del caller
    return _events(site, tenant, cursor, limit, kinds)


@router.post(
    "/explain",
    tags=["explain"],
    summary="Explain what becomes of a message",
    response_class=Response,
    responses={
        **documented("not-json", "not-found", "too-large", "wrong-type", "not-possible"),
        **_OBJECT,
    },
)
async def explain(given: ExplainRequest, site: SiteOf, caller: AnyCaller) -> Response:
    """Run the decisions of the live system on a message, without sending it.

    The answer is that of `gatepost explain --json`. DNS and the policy host of the destination are
    asked where the settings say so.
    """
    case = _case(given)
    loaded = site.loaded()
    if not caller.is_platform:
        await run_in_threadpool(_check_own, case, site, caller)
    knowledge = await look_for(case, loaded)
    explained = await run_in_threadpool(decide, case, loaded, knowledge)
    found = explained.document()
    return _plain(found if caller.is_platform else _own_part(found, caller.tenant))


def _quotas(known: Known, claims: list[Claim]) -> QuotasView:
    usages = known.usage(claims)
    return QuotasView(
        quotas=[QuotaView(**document(each)) for each in usages], problems=known.problems
    )


def _events(
    site: Site, tenant: str | None, cursor: str, limit: int, kinds: list[EventKind] | None
) -> EventPage:
    page = site.open(open_events).page(int(cursor or 0), limit, tenant, kinds or None)
    return EventPage(
        events=[EventView(**as_data(each.event)) for each in page.events],  # type: ignore[arg-type]
        next=str(page.position),
    )


def _case(given: ExplainRequest) -> Case:
    try:
        ipaddress.ip_address(given.client_address or "::")
    except ValueError:
        raise ProblemError(
            "not-possible", "client_address is no IP address", "write one such as 192.0.2.10"
        ) from None
    try:
        fingerprint = given.certificate and kinds.FINGERPRINT.parse(given.certificate)
    except Rejected as error:
        raise ProblemError("not-possible", f"certificate: {error.problem}", error.remedy) from error
    return Case(
        Client(given.login, fingerprint, given.client_address, "", given.listener),
        given.sender,
        given.recipient,
        tuple(Header(each.name, each.value) for each in given.headers),
        given.next_hop,
    )


def _check_own(case: Case, site: Site, caller: Caller) -> None:
    if _owner(case, site.current()) != caller.tenant:
        raise _not_own()


def _not_own() -> ProblemError:
    return ProblemError(
        "not-found",
        "such a message would not be one of this tenant's",
        "name a login, an address, a certificate or a listener of the tenant",
    )


def _own_part(found: dict[str, Any], tenant: str) -> dict[str, Any]:
    """Return what an explanation tells of a tenant itself.

    Postfix asks for the delivery with the envelope sender alone. Where that names somebody else, it
    is somebody else's lane, pause and TLS that the maps tell of; where it names nobody, the answer
    has to look the same, or it would tell whose customers there are.
    """
    if found["tenant"] != tenant:
        # The milter does not see all that the policy server does.
        raise _not_own()
    route = found["route"]
    own = route is not None and route["tenant"] == tenant
    hidden: dict[str, Any] = {**dict.fromkeys(_DELIVERY), "map_name": "", "slowed": []}
    quotas = [each for each in found["quotas"] if _is_named_own(each["of"], tenant)]
    return found | ({} if own else hidden) | {"postfix_problems": [], "quotas": quotas}


def _owner(case: Case, snapshot: Snapshot) -> str:
    tenant = identify(case.client, snapshot.tenants).tenant
    return "" if tenant is None else tenant.id


def _is_own(claim: Claim, tenant: Tenant) -> bool:
    return _is_named_own(claim.name, tenant.id)


def _is_named_own(name: str, tenant: str) -> bool:
    kind, _, rest = name.partition(" ")
    return kind in {"tenant", "login", "campaign"} and rest.split(" ")[0] == tenant


def _plain(content: dict[str, Any]) -> Response:
    return Response(json.dumps(content, default=str), media_type="application/json")
