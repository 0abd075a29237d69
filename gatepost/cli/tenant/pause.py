"""``gatepost tenant pause``: let a tenant's mail wait, at its client and in the queue."""

from __future__ import annotations

import os
import time
from contextlib import closing
from enum import StrEnum
from typing import Annotated, Any

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    NO,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    fail,
    number,
    print_json,
)
from gatepost.cli.periods import seconds_of
from gatepost.cli.stores import open_existing
from gatepost.cli.tenant.common import (
    TenantArgument,
    account,
    document,
    paused_what,
    reason_of,
    say_done,
    tenant_in,
)
from gatepost.cli.tenant.parts import (
    CampaignOption,
    DomainOption,
    YesOption,
    confirm_pause,
    part_of,
)
from gatepost.cli.tenant.queue_work import desk, stop_queued, wait_in_force, warn
from gatepost.errors import GatepostError, PostfixUnavailable
from gatepost.feedback.status import WHOLE, Part, Pause, Queued, Scope, moment
from gatepost.postfix.hooks_in_use import hooks_in_use
from gatepost.postfix.spec import Hook
from gatepost.settings import Loaded, Loader
from gatepost.store.open import open_statuses
from gatepost.store.tenant_status import TenantStatusStore
from gatepost.tenants.model import Tenant

_NO_MAP = (
    "Postfix does not ask the map transport, which attach puts in where a tenant has a lane or TLS "
    "profile of its own; --queued hold puts queued mail on hold"
)


class Whole(StrEnum):
    """What of a tenant's mail waits where no campaign or domain is named."""

    ALL = Scope.ALL.value
    MARKETING = Scope.MARKETING.value


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
        Whole, typer.Option(help="What waits: all mail, or the types listed as marketing.")
    ] = Whole.ALL,
    campaign: CampaignOption = "",
    domain: DomainOption = "",
    queued: Annotated[
        Queued | None,
        typer.Option(
            help="What becomes of mail in the queue. Without it: retry for all of a tenant's mail, "
            "keep for marketing, and hold for a campaign or domain."
        ),
    ] = None,
    period: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="PERIOD", help="Ends by itself after so long: 30m, 24h, 7d, 4w."
        ),
    ] = None,
    yes: YesOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Let the mail of a tenant wait until gatepost tenant resume.

    With --scope all, each RCPT TO of the tenant is answered with 450 4.7.1 "sending of TENANT is
    paused: REASON, since TIME", so that the mail stays with the client, which tries again; mail of
    a platform login, whose tenant only its headers tell, gets the same reply at the end of the
    message. With --scope marketing, messages of the types in feedback.marketing of the tenant get
    it at the end of the message, and all others pass. With --domain, each RCPT TO to that domain
    gets it; with --campaign, each message of that campaign at its end; with both, each message of
    that campaign that has a recipient there. Mail of the tenant with a null sender waits, too.

    --queued says what becomes of mail that is in Postfix's queue already. With keep it goes on.
    With retry, each attempt is deferred with that reason: it stays in the queue, comes back as
    Postfix schedules it, and is returned to its sender after maximal_queue_lifetime. It takes
    --scope all, works on every node, and needs no root; mail that is in the active queue already,
    20,000 messages at the most, stops only where this runs as root and so can reload Postfix; for
    one sender and recipient, Postfix remembers its last answer for 30 seconds. With hold, mail is
    put on hold on this node, as postsuper -h does; it does not expire there, and needs root. On
    other nodes, gatepost tenant apply does the same.

    A pause holds whatever the mode of the feature ladder is, and besides what the ladder does by
    itself. A tenant has one pause as a whole, all or marketing, and one for each campaign, domain,
    and campaign to a domain; a second pause takes the place of the first of the same kind. Each
    one is an event, tenant.status_changed, with the reason and who did it; mail that is put on hold
    is tenant.queue_held. Where no other tenant could send any more, or it is the platform's own,
    which owns bounce_domain or feedback_domain, --yes is asked for.

    Exit status: 0 paused; 1 paused, and mail that is in the queue could not be stopped; 2 usage or
    configuration error, or no database.

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
        part = part_of(tenant, campaign, domain)
        what = _scope(scope, part)
        then = _queued(queued, what)
        with closing(open_existing(open_statuses, loaded.settings)) as store:
            if what is Scope.ALL:
                confirm_pause(tenant, loaded.snapshot, store.all(), now, yes=yes)
            pause = Pause(what, text, now, until, account(), then, part.campaign, part.domain)
            store.pause(name, pause)
            status = store.find(name)
            done = _stop(loaded, tenant, pause, store, quiet=as_json)
    if what is Scope.MARKETING and not tenant.marketing_types:
        warn(f"{name} lists no types under feedback.marketing, so no message waits")
    if as_json:
        print_json({**document(name, status, tenant, now), "queue": done})
    else:
        words = paused_what(pause)
        say_done(name, words if until is None else f"{words} until {moment(until)}")
        _say_queue(name, done)
    _warn_of_hooks(loaded, pause)
    if done.get("goes_on"):
        raise typer.Exit(NO)


def _scope(scope: Whole, part: Part) -> Scope:
    if part == WHOLE:
        return Scope(scope.value)
    if scope is Whole.MARKETING:
        fail("--scope marketing does not go with --campaign or --domain")
    return part.scope


def _queued(queued: Queued | None, scope: Scope) -> Queued:
    if queued is Queued.RETRY and scope is not Scope.ALL:
        fail(
            "--queued retry is for a whole tenant: the map that defers queued mail knows its "
            "sender alone; take --queued hold"
        )
    if queued is not None:
        return queued
    return {Scope.ALL: Queued.RETRY, Scope.MARKETING: Queued.KEEP}.get(scope, Queued.HOLD)


def _stop(
    loaded: Loaded, tenant: Tenant, pause: Pause, statuses: TenantStatusStore, *, quiet: bool
) -> dict[str, Any]:
    """Do to queued mail what the pause says; a pause that is in force already stays so."""
    if pause.queued is Queued.KEEP:
        return {"queued": pause.queued.value}
    try:
        if pause.queued is Queued.HOLD and os.geteuid() != 0:
            raise GatepostError("putting mail on hold works for root only")
        if pause.queued is Queued.RETRY and Hook.TRANSPORT not in hooks_in_use(
            loaded.settings.postfix_config_dir
        ):
            return {"queued": pause.queued.value, "problem": _NO_MAP, "goes_on": True}
        wait_in_force(loaded, statuses)
        with desk(loaded, tenant) as at:
            return stop_queued(at, pause, quiet=quiet)
    except GatepostError as error:
        goes_on = pause.queued is Queued.HOLD
        return {"queued": pause.queued.value, "problem": str(error), "goes_on": goes_on}


def _warn_of_hooks(loaded: Loaded, pause: Pause) -> None:
    """Say if nothing asks at the place where the pause acts."""
    try:
        hooks = hooks_in_use(loaded.settings.postfix_config_dir)
    except PostfixUnavailable:
        return
    at_end = pause.scope in {Scope.MARKETING, Scope.CAMPAIGN, Scope.CAMPAIGN_DOMAIN}
    if at_end and Hook.MILTER not in hooks:
        warn("no message waits at its end: Postfix does not ask the milter; run gatepost attach")
    if not at_end and Hook.POLICY not in hooks:
        warn(
            "nothing waits at RCPT TO: Postfix does not ask the policy server; see gatepost doctor"
        )


def _say_queue(name: str, done: dict[str, Any]) -> None:
    if problem := done.get("problem"):
        if done["queued"] == Queued.HOLD.value:
            warn(
                f"queued mail goes on: {problem}; as root, gatepost tenant apply puts on hold "
                "what this pause is about"
            )
        elif done["goes_on"]:
            warn(f"queued mail goes on: {problem}")
        else:
            warn(f"queued mail is deferred from now on; it was not counted: {problem}")
    elif done["queued"] == Queued.HOLD.value:
        print(f"{name}: {number(done['held'], 'queued message')} put on hold on this node")
        if done["labels_unknown"]:
            warn(f"{number(done['labels_unknown'], 'message')} of unknown campaign or type go on")
    elif done["queued"] == Queued.RETRY.value:
        print(
            f"{name}: {number(done['waiting'], 'queued message')} on this node are deferred, and "
            "expire as Postfix says (maximal_queue_lifetime)"
        )
        if done["moved"]:
            print(f"{name}: Postfix was reloaded for {number(done['moved'], 'active message')}")
        if done["active"]:
            warn(
                f"{number(done['active'], 'message')} in the active queue go on, as only root can "
                "reload Postfix; run this as root"
            )
        if done["not_stopped"]:
            warn(
                f"{number(done['not_stopped'], 'message')} have senders that do not name {name}, "
                "and go on; --queued hold stops these, too"
            )
