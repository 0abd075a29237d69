"""``gatepost tenant pause``: let a tenant's mail wait at its client."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from typing import Annotated

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    fail,
    print_json,
)
from gatepost.cli.periods import seconds_of
from gatepost.cli.stores import open_existing
from gatepost.cli.tenant.common import (
    TenantArgument,
    account,
    document,
    reason_of,
    say_done,
    tenant_in,
)
from gatepost.feedback.status import Pause, Scope, moment
from gatepost.settings import Loader
from gatepost.store.open import open_statuses


def command(
    name: TenantArgument,
    *,
    reason: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="Why; it is told to the tenant's clients in the SMTP reply, and kept.",
        ),
    ],
    scope: Annotated[
        Scope, typer.Option(help="What waits: all mail, or the types listed as marketing.")
    ] = Scope.ALL,
    period: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="PERIOD", help="Ends by itself after so long: 30m, 24h, 7d, 4w."
        ),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Let the mail of a tenant wait until gatepost tenant resume.

    With --scope all, each RCPT TO of the tenant is answered with 450 4.7.1 "sending of TENANT is
    paused: REASON, since TIME", so that the mail stays with the client, which tries again; mail of
    a platform login, whose tenant only its headers tell, gets the same reply at the end of the
    message. With --scope marketing, messages of the types in feedback.marketing of the tenant get
    it at the end of the message, and all others pass. Mail of the tenant with a null sender waits,
    too. Mail that is in Postfix's queue already goes on.

    A pause holds whatever the mode of the feature ladder is, and besides what the ladder does by
    itself. A second pause takes the place of the first. Each one is an event,
    tenant.status_changed, with the reason and who did it.

    Exit status: 0 paused; 2 usage or configuration error, or no database.

    Example: gatepost tenant pause acme --reason "bought addresses, ticket 4711" --for 24h
    """
    now = time.time()
    text = reason_of(reason)
    if not text:
        fail("--reason is empty; say why, as the tenant will ask")
    until = None if period is None else now + seconds_of(period, "--for")
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        tenant = tenant_in(loaded.snapshot, name)
        with closing(open_existing(open_statuses, loaded.settings)) as store:
            store.pause(name, Pause(scope, text, now, until, account()))
            status = store.find(name)
    if scope is Scope.MARKETING and not tenant.marketing_types:
        print(
            f"gatepost: {name} lists no types under feedback.marketing, so no message waits",
            file=sys.stderr,
        )
    if as_json:
        print_json(document(name, status, tenant, now))
        return
    what = "paused" if scope is Scope.ALL else "marketing paused"
    say_done(name, what if until is None else f"{what} until {moment(until)}")
