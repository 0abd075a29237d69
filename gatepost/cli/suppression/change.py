"""``gatepost suppression add`` and ``remove``."""

from __future__ import annotations

import time
from typing import Annotated

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
    ExpiresOption,
    GlobalOption,
    NoteOption,
    ReasonOption,
    TenantOption,
    canonical,
    describe,
    end_of,
    list_words,
    one_list,
    open_list,
    write_audit,
)
from gatepost.feedback.suppression import (
    GLOBAL,
    MAX_NOTE,
    Reason,
    Suppressed,
    expiry_of,
)
from gatepost.runtime.feedback.known import entry_document
from gatepost.runtime.log import clean
from gatepost.settings import Loader

_SOURCE = "gatepost suppression add"


def add(
    addresses: Annotated[
        list[str], typer.Argument(metavar="ADDRESS…", help="The addresses to suppress.")
    ],
    *,
    tenant: TenantOption = None,
    is_global: GlobalOption = False,
    reason: Annotated[
        Reason | None,
        typer.Option("--reason", help="Why. Without it, manual; invalid on the global list."),
    ] = None,
    expires: ExpiresOption = None,
    note: NoteOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Suppress addresses for a tenant, or for everybody.

    Mail of the tenant to them is refused from now on, as far as its mode of suppression goes. On
    the global list there is room only for addresses that do not exist: they are refused to every
    tenant. What a person asked for (complaint, unsubscribe) and addresses that do not exist
    (invalid) hold for good; bounces end by themselves or by a later delivery; entries by hand end
    if --expires says so. An entry that is there with the same reason is never made shorter.

    Each change is an event, suppression.changed, which names the account that made it.

    Exit status: 0 the addresses are on the list; 2 usage or configuration error, or one of them is
    no address, and none was added.

    Example: gatepost suppression add ann@example.org --tenant acme --expires 90d --note "on leave"
    """
    now = time.time()
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        chosen = one_list(tenant, is_global, loaded)
        why = reason or (Reason.INVALID if chosen == GLOBAL else Reason.MANUAL)
        if chosen == GLOBAL and why is not Reason.INVALID:
            fail("the global list takes addresses with the reason invalid alone")
        if len(note) > MAX_NOTE:
            fail(f"--note takes at most {MAX_NOTE} characters")
        rules = loaded.snapshot.suppression
        ends = end_of(expires, why, now) or expiry_of(why, now, rules)
        entries = [
            Suppressed(chosen, canonical(each), why, now, ends, _SOURCE, note) for each in addresses
        ]
        with open_list(loaded, create=True) as store:
            added = [entry for entry in entries if store.add([entry], rules)]
        for entry in added:
            write_audit(loaded, chosen, "add", {"reason": why.value}, entry.address)
    if as_json:
        print_json({"changed": list(map(entry_document, added)), "given": len(entries)})
        return
    for entry in entries:
        words = "suppressed" if entry in added else "was there already"
        print(clean(f"{entry.address}: {words}, {list_words(chosen)}: {describe(entry)}"))


def remove(
    addresses: Annotated[
        list[str], typer.Argument(metavar="ADDRESS…", help="The addresses to take off.")
    ],
    *,
    tenant: TenantOption = None,
    is_global: GlobalOption = False,
    reason: ReasonOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Take addresses off a list, with all their entries or those with one reason.

    Prints each entry that was there, so that it can be put back. With suppression.sub_addresses:
    fold, all sub-addresses of the mailbox are taken off; with separate, the address alone. Soft
    bounces that were counted are forgotten. Whoever complained or unsubscribed did not ask for
    this: take such an entry off only if the recipient wants mail again.

    Each change is an event, suppression.changed.

    Exit status: 0 something was removed for each address; 1 an address was not on the list; 2 usage
    or configuration error.

    Example: gatepost suppression remove ann@example.org --tenant acme --reason hard-bounce
    """
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        chosen = one_list(tenant, is_global, loaded)
        wanted = {each: canonical(each) for each in addresses}
        found = {}
        with open_list(loaded) as store:
            for given, address in wanted.items():
                removed = store.remove(chosen, address, loaded.snapshot.suppression, reason)
                found[given] = removed
        for entries in found.values():
            for entry in entries:
                write_audit(loaded, chosen, "remove", {"reason": entry.reason.value}, entry.address)
    if as_json:
        print_json(
            {"removed": [entry_document(entry) for some in found.values() for entry in some]}
        )
    else:
        for given, entries in found.items():
            if not entries:
                print(clean(f"{given}: is not on the list of {chosen or 'everybody'}"))
            for entry in entries:
                words = f"removed from {list_words(chosen)}"
                print(clean(f"{entry.address or given}: {words}: {describe(entry)}"))
    if not all(found.values()):
        raise typer.Exit(NO)
