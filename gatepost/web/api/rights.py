"""Who may do what.

===================================  ========  ==========  ======  ==========
route                                platform  platform,   tenant  tenant,
                                               read-only           read-only
===================================  ========  ==========  ======  ==========
read what is the platform's          yes       yes         403     403
change tenants, pause, resume        yes       403         403     403
read what is a tenant's              yes       yes         own     own
change a tenant's suppression list   yes       403         own     403
===================================  ========  ==========  ======  ==========

Security: for the token of a tenant, another tenant is answered as one that does not exist.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request

from gatepost.runtime.api_token import Caller
from gatepost.web.api.problems import ProblemError
from gatepost.web.api.site import Site

TENANT_PATTERN = "^[a-z0-9][a-z0-9-]{0,30}$"
TenantId = Annotated[str, Path(pattern=TENANT_PATTERN, description="Tenant id.", examples=["acme"])]


def site_of(request: Request) -> Site:
    """Return what the routes work with."""
    site: Site = request.app.state.site
    return site


def caller_of(request: Request) -> Caller:
    """Return who calls."""
    caller: Caller = request.state.caller
    return caller


SiteOf = Annotated[Site, Depends(site_of)]
AnyCaller = Annotated[Caller, Depends(caller_of)]


def _platform(caller: AnyCaller) -> Caller:
    if not caller.is_platform:
        raise ProblemError("not-allowed", "this needs a token for the platform")
    return caller


def _writer(caller: AnyCaller) -> Caller:
    if caller.read_only:
        raise ProblemError("not-allowed", "the token may read alone")
    return caller


def _platform_writer(caller: Annotated[Caller, Depends(_platform)]) -> Caller:
    return _writer(caller)


def _of_tenant(tenant: TenantId, caller: AnyCaller, site: SiteOf) -> Caller:
    if not caller.is_platform and caller.tenant != tenant:
        raise no_tenant(tenant)
    if not site.knows(tenant):
        raise no_tenant(tenant)
    return caller


def _writer_of_tenant(tenant: TenantId, caller: AnyCaller, site: SiteOf) -> Caller:
    return _of_tenant(tenant, _writer(caller), site)


def no_tenant(tenant: str) -> ProblemError:
    """Return what is said of a tenant that does not exist, or that the token may not see."""
    return ProblemError("not-found", f"there is no tenant {tenant}")


PlatformCaller = Annotated[Caller, Depends(_platform)]
PlatformWriter = Annotated[Caller, Depends(_platform_writer)]
TenantCaller = Annotated[Caller, Depends(_of_tenant)]
TenantWriterCaller = Annotated[Caller, Depends(_writer_of_tenant)]
