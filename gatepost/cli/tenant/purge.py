"""``gatepost tenant purge``: delete a tenant's queued mail."""

from __future__ import annotations

import sys
from typing import Annotated

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
from gatepost.cli.tenant.common import TenantArgument, reason_of, tenant_in
from gatepost.cli.tenant.parts import CampaignOption, DomainOption, part_of
from gatepost.cli.tenant.queue_work import (
    Desk,
    desk,
    shown,
    summary_document,
    summary_lines,
    warn,
)
from gatepost.decisions.queued import Selection
from gatepost.feedback.events import EventKind
from gatepost.feedback.status import WHOLE, Part
from gatepost.runtime.traffic.hands import Done, purge
from gatepost.runtime.traffic.queued import DELIVERABLE, HELD, Chosen, Summary, require_root
from gatepost.settings import Loader
from gatepost.tenants.model import Tenant


def command(
    name: TenantArgument,
    *,
    campaign: CampaignOption = "",
    domain: DomainOption = "",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Count a tenant's mail in the queues of this node, and delete it.

    It is counted first, by queue, campaign, recipient domain, and what is known of whose it is. On
    a terminal, the number has to be typed before anything is deleted; elsewhere, nothing is deleted
    without --yes. What was counted is deleted and nothing else: what comes meanwhile stays, and
    what has gone meanwhile is told. No bounce is sent: to its sender, the mail is gone without a
    word. Mail on hold is deleted, too. The tenant goes on sending unless it is paused: pause it
    first.

    Whose a message is, its envelope sender tells, as it does for the transport map, or else the
    message book; mail that two tenants could own, by these two, and mail of nobody is never
    deleted. The campaign is that of the message book, or else, for root, of the message's own
    header; a message whose campaign neither tells is left alone where --campaign is given. With
    --domain, so is one that waits for other domains, too.

    Each deletion is an event, tenant.queue_purged, once before the first message goes and once
    afterwards.

    Exit status: 0 deleted, or there is nothing to delete; 1 there is, and it was only counted; 2
    usage or configuration error, not root, or Postfix cannot be asked.

    Example: gatepost tenant purge acme --campaign spring --reason "wrong prices" --yes
    """
    text = reason_of(reason)
    done: Done | None = None
    if yes and dry_run:
        fail("--yes does not go with --dry-run")
    asks = not (yes or dry_run or as_json) and sys.stdin.isatty()
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        tenant = tenant_in(loaded.snapshot, name)
        part = part_of(tenant, campaign, domain)
        if yes or asks:
            require_root()
        with desk(loaded, tenant) as at, _counted(at, tenant, part, quiet=as_json) as chosen:
            summary = chosen.summary
            if not as_json:
                _show(name, part, summary)
            if summary.messages and (yes or (asks and _confirmed(summary.messages))):
                done = _delete(at, chosen, part, text, quiet=as_json)
    _report(name, summary, done, as_json=as_json)
    if summary.messages and done is None:
        raise typer.Exit(NO)


def _counted(at: Desk, tenant: Tenant, part: Part, *, quiet: bool) -> Chosen:
    with shown("reading the queue", quiet=quiet) as progress:
        return at.reader.choose(
            Selection(tenant, part), DELIVERABLE | HELD, partly=False, progress=progress
        )


def _show(name: str, part: Part, summary: Summary) -> None:
    what = "" if part == WHOLE else f", {part.words()}"
    lines = summary_lines(summary)
    print(f"{name}{what}: {next(lines)}")
    for line in lines:
        print(line)
    if summary.short_ids:
        warn(
            "Postfix uses short queue ids here, which soon name another message; each is looked at "
            "once more before it is deleted, and enable_long_queue_ids = yes ends the matter"
        )


def _confirmed(count: int) -> bool:
    return input(f"Delete them, without a bounce? Type the number {count}: ").strip() == str(count)


def _delete(at: Desk, chosen: Chosen, part: Part, reason: str, *, quiet: bool) -> Done:
    count = chosen.summary.messages
    # The first event stays if this is killed before the second.
    at.tell(EventKind.QUEUE_PURGED, part, reason, state="begun", count=count)
    with shown("deleted", quiet=quiet) as progress:
        done = purge(at.loaded.settings.postfix_config_dir, chosen, at.held, progress)
    at.tell(EventKind.QUEUE_PURGED, part, reason, state="done", count=done.count, gone=done.gone)
    return done


def _report(name: str, summary: Summary, done: Done | None, *, as_json: bool) -> None:
    if as_json:
        counts = {
            "deleted": None if done is None else done.count,
            "gone": None if done is None else done.gone,
        }
        print_json({"tenant": name, **summary_document(summary), **counts})
    elif done is not None:
        gone = f"; {number(done.gone, 'message')} had gone meanwhile" if done.gone else ""
        print(f"{name}: {number(done.count, 'message')} deleted, no bounces sent{gone}")
    elif summary.messages:
        print("nothing was deleted")
