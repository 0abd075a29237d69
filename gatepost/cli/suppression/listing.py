"""``gatepost suppression list`` and ``check``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    NO,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    fail,
    print_json,
)
from gatepost.cli.suppression.common import (
    HASHED,
    GlobalOption,
    ReasonOption,
    TenantOption,
    canonical,
    describe,
    open_list,
    some_lists,
)
from gatepost.errors import MalformedMessage
from gatepost.feedback.suppression import GLOBAL, Suppressed
from gatepost.feedback.suppression_table import format_time
from gatepost.runtime.feedback.known import entry_document
from gatepost.runtime.log import clean
from gatepost.settings import Loader

_MAX_LIMIT = 100_000


def list_entries(
    *,
    tenant: TenantOption = None,
    is_global: GlobalOption = False,
    reason: ReasonOption = None,
    limit: Annotated[
        int, typer.Option(min=1, max=_MAX_LIMIT, metavar="N", help="Print at most N entries.")
    ] = 100,
    after: Annotated[
        str, typer.Option(metavar="PLACE", help="Go on where the last page ended, as it said.")
    ] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """List suppressed addresses, of one list or of all, with reason, dates and source.

    The order is that in which the store keeps them, by a hash of the address; to look for an
    address, use check, and for all of them, export. Where more are left, the last line on standard
    error says how to go on. Entries that have ended are shown until they are cleared away, within
    the hour. With feedback.privacy hashed, the list holds no addresses and prints "(hashed)".

    Exit status: 0, also if there are none; 2 usage or configuration error.

    Example: gatepost suppression list --tenant acme --reason complaint
    """
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        chosen = some_lists(tenant, is_global, loaded)
        with open_list(loaded) as store:
            try:
                page = store.page(chosen, reason, after, limit)
            except MalformedMessage:
                fail(f"--after {after!a} is no place that a page ended at")
    if as_json:
        print_json(
            {"entries": list(map(entry_document, page.entries)), "after": page.after or None}
        )
        return
    for entry in page.entries:
        print(_line(entry))
    if page.after:
        print(f"there may be more: --after {page.after}", file=sys.stderr)


def check(
    addresses: Annotated[
        list[str], typer.Argument(metavar="ADDRESS…", help="The addresses to look up.")
    ],
    *,
    tenant: TenantOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Say whether addresses are suppressed: for a tenant, or for anybody.

    The address is compared as the check at RCPT TO does: without regard to case and quotes, and
    with or without sub-addresses, as suppression.sub_addresses says. For a tenant, the global list
    counts as well; without --tenant, every list is looked at. Entries that have ended are shown as
    such. This looks at the lists alone; whether a tenant's mail is refused is a question of its
    mode, see gatepost explain.

    Exit status: 0 none is suppressed; 1 at least one is; 2 usage or configuration error.

    Example: gatepost suppression check ann@example.org --tenant acme
    """
    now = time.time()
    found: dict[str, list[Suppressed]] = {}
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        chosen = some_lists(tenant, is_global=False, loaded=loaded)
        for address in addresses:
            canonical(address)
        with open_list(loaded) as store:
            lists = store.lists() if chosen is None else [chosen, GLOBAL]
            for address in addresses:
                found[address] = [
                    entry
                    for each in lists
                    for entry in store.entries_of(each, address, loaded.snapshot.suppression)
                ]
    if as_json:
        print_json([_checked(address, entries, now) for address, entries in found.items()])
    else:
        for address, entries in found.items():
            _print_checked(address, entries, now)
    if any(entry.holds(now) for entries in found.values() for entry in entries):
        raise typer.Exit(NO)


def _line(entry: Suppressed) -> str:
    until = "-" if entry.expires is None else format_time(entry.expires)
    more = " ".join(filter(None, (entry.source, f"({entry.note})" if entry.note else "")))
    line = (
        f"{entry.tenant or '(global)':<16} {entry.address or HASHED:<40} {entry.reason.value:<13} "
        f"{format_time(entry.at):<20} {until:<20} {more}"
    )
    return clean(line.rstrip())


def _checked(address: str, entries: Sequence[Suppressed], now: float) -> dict[str, Any]:
    return {
        "address": address,
        "suppressed": any(entry.holds(now) for entry in entries),
        "entries": [{**entry_document(entry), "in_force": entry.holds(now)} for entry in entries],
    }


def _print_checked(address: str, entries: Sequence[Suppressed], now: float) -> None:
    if not entries:
        print(f"{address}: not suppressed")
    for entry in entries:
        spelled = "" if entry.address in {"", address} else f" as {entry.address}"
        state = "suppressed" if entry.holds(now) else "no longer suppressed"
        words = f"{state} for {entry.tenant}" if entry.tenant else f"{state} for everybody"
        print(clean(f"{address}: {words}{spelled}: {describe(entry)}"))
