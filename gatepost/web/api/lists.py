"""Suppression lists: of a tenant below ``/tenants/{tenant}``, the global one by itself.

Limits: `guard.MAX_IMPORT` octets of an import, one import at a time; it is kept on disk meanwhile.
Errors: `ProblemError`, `StoreUnavailable`.
Security: addresses are in bodies and never in a URL, which web servers log.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import IO, Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool

from gatepost.errors import MalformedMessage, StoreUnavailable
from gatepost.feedback.suppression import (
    GLOBAL,
    MAX_NOTE,
    Suppressed,
    canonical_address,
    expiry_of,
)
from gatepost.feedback.suppression import Reason as ListReason
from gatepost.feedback.suppression_table import BadLine, Defaults, bounded_lines, read_entries
from gatepost.runtime.api_token import Caller
from gatepost.runtime.feedback.known import entry_document, record_list_change
from gatepost.runtime.log import clean, log_event
from gatepost.settings.api_tenants import copy_path
from gatepost.web.api.models import (
    BadLineView,
    Changed,
    Checked,
    CheckedAll,
    CheckedEntry,
    CheckRequest,
    EntryPage,
    EntryView,
    Imported,
    NewEntry,
    Reason,
    Removal,
)
from gatepost.web.api.problems import ProblemError, documented
from gatepost.web.api.rights import (
    PlatformCaller,
    PlatformWriter,
    SiteOf,
    TenantCaller,
    TenantId,
    TenantWriterCaller,
)
from gatepost.web.api.site import Site
from gatepost.web.api.strict_route import PREFIX, StrictRoute
from gatepost.web.api.tenant_model import PLAIN

SOURCE = "api"
MAX_PAGE = 1000
SHOWN = 100

router = APIRouter(prefix=PREFIX, tags=["suppression"], route_class=StrictRoute)

_log = logging.getLogger("gatepost.api")
_importing = threading.BoundedSemaphore(1)
_READ = documented("not-found", "not-possible")
_WRITE = documented("not-json", "not-found", "too-large", "wrong-type", "not-possible")
_IMPORT = documented("not-found", "too-large", "wrong-type", "not-possible")
_TABLE = {
    "requestBody": {
        "required": True,
        "description": "A table as of `gatepost suppression import`, or an address a line.",
        "content": {"text/csv": {"schema": {"type": "string"}}},
    }
}

WithReason = Annotated[Reason | None, Query(description="Only entries with this reason.")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="At most so many.")]
Cursor = Annotated[
    str,
    Query(max_length=200, pattern="^[0-9a-f.]*$", description="`next` of the page before."),
]
Note = Annotated[
    str, Query(max_length=MAX_NOTE, pattern=PLAIN, description="A note for each entry.")
]
DryRun = Annotated[bool, Query(description="Read it, and store nothing.")]
AllReason = Annotated[
    Reason | None, Query(description="The reason of all, whatever the table says.")
]


@router.get("/tenants/{tenant}/suppressions", summary="List a tenant's entries", responses=_READ)
def list_entries(
    tenant: TenantId,
    site: SiteOf,
    caller: TenantCaller,
    reason: WithReason = None,
    limit: Limit = 100,
    cursor: Cursor = "",
) -> EntryPage:
    """List entries of a tenant's suppression list, in an order of the store's own."""
    del caller
    return _page(tenant, site, reason, limit, cursor)


@router.post("/tenants/{tenant}/suppressions", summary="Suppress an address", responses=_WRITE)
def add_entry(
    tenant: TenantId, given: NewEntry, site: SiteOf, caller: TenantWriterCaller
) -> Changed:
    """Suppress an address for a tenant. An entry that is there is never made shorter."""
    return _add(tenant, given, site, caller)


@router.post(
    "/tenants/{tenant}/suppressions/remove", summary="Take an address off", responses=_WRITE
)
def remove_entry(
    tenant: TenantId, given: Removal, site: SiteOf, caller: TenantWriterCaller
) -> Changed:
    """Take an address off a tenant's list, with all its entries or with one.

    Whoever complained or unsubscribed did not ask for this.
    """
    return _remove(tenant, given, site, caller)


@router.post("/tenants/{tenant}/suppressions/check", summary="Look addresses up", responses=_WRITE)
def check_entries(
    tenant: TenantId, given: CheckRequest, site: SiteOf, caller: TenantCaller
) -> CheckedAll:
    """Say whether addresses are suppressed for a tenant, by its own list or by the global one.

    What the platform has noted about an entry of the global list is for its own tokens.
    """
    return _check([tenant, GLOBAL], given, site, is_platform=caller.is_platform)


@router.post(
    "/tenants/{tenant}/suppressions/import",
    summary="Import a list",
    responses=_IMPORT,
    openapi_extra=_TABLE,
)
async def import_entries(
    tenant: TenantId,
    request: Request,
    site: SiteOf,
    caller: TenantWriterCaller,
    reason: AllReason = None,
    note: Note = "",
    dry_run: DryRun = False,  # noqa: FBT002
) -> Imported:
    """Store the lines of a table on a tenant's list; bad lines are left out and told."""
    return await _import(tenant, request, site, caller, _Asked(reason, note, dry_run))


@router.get(
    "/suppressions", summary="List the global entries", responses=documented("not-possible")
)
def list_global(
    site: SiteOf,
    caller: PlatformCaller,
    reason: WithReason = None,
    limit: Limit = 100,
    cursor: Cursor = "",
) -> EntryPage:
    """List entries of the list that holds for every tenant."""
    del caller
    return _page(GLOBAL, site, reason, limit, cursor)


@router.post("/suppressions", summary="Suppress an address for all", responses=_WRITE)
def add_global(given: NewEntry, site: SiteOf, caller: PlatformWriter) -> Changed:
    """Suppress an address that does not exist for every tenant."""
    return _add(GLOBAL, given, site, caller)


@router.post("/suppressions/remove", summary="Take an address off for all", responses=_WRITE)
def remove_global(given: Removal, site: SiteOf, caller: PlatformWriter) -> Changed:
    """Take an address off the global list."""
    return _remove(GLOBAL, given, site, caller)


@router.post("/suppressions/check", summary="Look addresses up in all lists", responses=_WRITE)
def check_all(given: CheckRequest, site: SiteOf, caller: PlatformCaller) -> CheckedAll:
    """Say on which lists addresses are."""
    del caller
    return _check(site.suppression().lists(), given, site, is_platform=True)


@router.post(
    "/suppressions/import",
    summary="Import the global list",
    responses=_IMPORT,
    openapi_extra=_TABLE,
)
async def import_global(
    request: Request,
    site: SiteOf,
    caller: PlatformWriter,
    note: Note = "",
    dry_run: DryRun = False,  # noqa: FBT002
) -> Imported:
    """Store the lines of a table on the global list, all with the reason invalid."""
    asked = _Asked(ListReason.INVALID.value, note, dry_run)
    return await _import(GLOBAL, request, site, caller, asked)


def _page(tenant: str, site: Site, reason: str | None, limit: int, cursor: str) -> EntryPage:
    wanted = None if reason is None else ListReason(reason)
    try:
        page = site.suppression().page(tenant, wanted, cursor, limit)
    except MalformedMessage as error:
        raise ProblemError("not-possible", "no page ended at this cursor") from error
    return EntryPage(entries=list(map(_entry, page.entries)), next=page.after or None)


def _add(tenant: str, given: NewEntry, site: Site, caller: Caller) -> Changed:
    rules = site.current().suppression
    now = site.clock()
    default = ListReason.INVALID if tenant == GLOBAL else ListReason.MANUAL
    reason = default if given.reason is None else ListReason(given.reason)
    if tenant == GLOBAL and reason is not ListReason.INVALID:
        raise _not_global()
    if given.seconds is not None and not reason.may_expire:
        raise ProblemError(
            "not-possible",
            f"an entry with the reason {reason.value} holds for good",
            "leave seconds out",
        )
    ends = expiry_of(reason, now, rules) if given.seconds is None else now + given.seconds
    entry = Suppressed(tenant, _canonical(given.address), reason, now, ends, SOURCE, given.note)
    changed = site.suppression().add([entry], rules)
    if changed:
        _record(site, tenant, "add", {"reason": reason.value}, caller, entry.address)
    return Changed(entries=[_entry(entry)] if changed else [])


def _remove(tenant: str, given: Removal, site: Site, caller: Caller) -> Changed:
    reason = None if given.reason is None else ListReason(given.reason)
    removed = site.suppression().remove(
        tenant, _canonical(given.address), site.current().suppression, reason
    )
    for entry in removed:
        details = {"reason": entry.reason.value}
        _record(site, tenant, "remove", details, caller, entry.address)
    return Changed(entries=list(map(_entry, removed)))


def _check(lists: list[str], given: CheckRequest, site: Site, *, is_platform: bool) -> CheckedAll:
    now = site.clock()
    rules = site.current().suppression
    store = site.suppression()
    found = []
    for address in given.addresses:
        _canonical(address)
        entries = [each for one in lists for each in store.entries_of(one, address, rules)]
        if not is_platform:
            entries = [
                replace(each, source="", note="") if each.tenant == GLOBAL else each
                for each in entries
            ]
        found.append(
            Checked(
                address=address,
                suppressed=any(each.holds(now) for each in entries),
                entries=[
                    CheckedEntry(**entry_document(each), in_force=each.holds(now))
                    for each in entries
                ],
            )
        )
    return CheckedAll(addresses=found)


class _Asked:
    """How an import is to be done."""

    def __init__(self, reason: str | None, note: str, dry_run: bool) -> None:  # noqa: FBT001
        self.reason = None if reason is None else ListReason(reason)
        self.note = note
        self.dry_run = dry_run


async def _import(
    tenant: str, request: Request, site: Site, caller: Caller, asked: _Asked
) -> Imported:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {"text/csv", "text/plain"}:
        raise ProblemError("wrong-type", "a list is text/csv", "send Content-Type: text/csv")
    # Beside the database, which needs room for the same lines there anyway.
    with tempfile.TemporaryFile(dir=copy_path(site.settings).parent) as file:
        async for part in request.stream():
            await run_in_threadpool(file.write, part)
        file.seek(0)
        return await run_in_threadpool(_store, tenant, file, site, caller, asked)


def _store(tenant: str, file: IO[bytes], site: Site, caller: Caller, asked: _Asked) -> Imported:
    if not _importing.acquire(blocking=False):
        raise ProblemError(
            "unavailable", "another import is under way", headers={"Retry-After": "10"}
        )
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        reading = _Reading(site.clock())
        lines = bounded_lines(text.readline)
        entries = reading.entries(lines, _defaults(tenant, site, asked))
        if asked.dry_run:
            changed = 0
            for _ in entries:
                pass
        else:
            changed = site.suppression().load(entries, site.current().suppression)
            for owner, count in reading.taken.items():
                _record(site, owner, "import", {"file": SOURCE, "entries": count}, caller)
    except MalformedMessage as error:
        raise ProblemError("not-possible", str(error)) from error
    finally:
        # The file is closed by who opened it.
        text.detach()
        _importing.release()
    return Imported(
        entries=reading.taken.total(),
        changed=changed,
        ended=reading.ended,
        bad=reading.bad_count,
        bad_lines=[BadLineView(line=b.line, problem=clean(b.problem)) for b in reading.bad],
        dry_run=asked.dry_run,
    )


def _defaults(tenant: str, site: Site, asked: _Asked) -> Defaults:
    snapshot = site.current()
    return Defaults(
        tenant,
        snapshot.tenants.by_id,
        asked.reason,
        None,
        f"import by {SOURCE}",
        asked.note,
        site.clock(),
        snapshot.suppression,
    )


class _Reading:
    """A table on its way into the store."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.taken: Counter[str] = Counter()
        self.ended = 0
        self.bad: list[BadLine] = []
        self.bad_count = 0

    def entries(self, lines: Iterator[str], defaults: Defaults) -> Iterator[Suppressed]:
        """Yield what is to be stored."""
        for each in read_entries(lines, defaults):
            if isinstance(each, BadLine):
                self.bad_count += 1
                if len(self.bad) < SHOWN:
                    self.bad.append(each)
            elif not each.holds(self.now):
                self.ended += 1
            else:
                self.taken[each.tenant] += 1
                yield each


def _canonical(address: str) -> str:
    try:
        return str(canonical_address(address))
    except MalformedMessage as error:
        raise ProblemError(
            "not-possible", str(error), "write one such as ann@example.org"
        ) from error


def _entry(entry: Suppressed) -> EntryView:
    return EntryView(**entry_document(entry))


def _not_global() -> ProblemError:
    return ProblemError(
        "not-possible",
        "the global list takes addresses with the reason invalid alone",
        "put the address on the list of a tenant",
    )


def _record(
    site: Site,
    tenant: str,
    action: str,
    details: Mapping[str, str | int],
    caller: Caller,
    address: str = "",
) -> None:
    with contextlib.suppress(StoreUnavailable):
        record_list_change(site.loaded(), tenant, action, details, caller.by, address)
        return
    # The change stays made.
    log_event(_log, logging.WARNING, "api-no-event", token=caller.name, action=action)
