"""``gatepost tenant resume``: let a tenant send again."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Annotated

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    print_json,
)
from gatepost.cli.stores import open_existing
from gatepost.cli.tenant.common import (
    TenantArgument,
    account,
    document,
    in_words,
    is_active,
    reason_of,
    say_done,
    tenant_in,
)
from gatepost.settings import Loader
from gatepost.store.open import open_statuses


def command(
    name: TenantArgument,
    *,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Take back a pause and any step of the ladder, and let the ladder count anew.

    Ends the operator's pause and the step that the ladder has taken. From then on the ladder looks
    at complaints and bounces from the next full hour on only, so that what led to the step does
    not lead to it again; complaints that still come in about earlier mail do count. A pause-all or
    pause-marketing of the ladder ends in no other way.

    It is an event, tenant.status_changed, with the reason and who did it.

    Exit status: 0 resumed, or there was nothing to take back; 2 usage or configuration error, or
    no database.

    Example: gatepost tenant resume acme --reason "list cleaned"
    """
    now = time.time()
    text = reason_of(reason)
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        tenant = tenant_in(loaded.snapshot, name)
        with closing(open_existing(open_statuses, loaded.settings)) as store:
            was = store.resume(name, now, account(), text)
            status = store.find(name)
    if as_json:
        print_json(document(name, status, tenant, now))
        return
    if is_active(was, now):
        say_done(name, "was active")
    else:
        say_done(name, f"active (was: {'; '.join(in_words(was, tenant, now))})")
