"""``gatepost tenant resume``: let a tenant send again."""

from __future__ import annotations

import os
import time
from contextlib import closing
from typing import Annotated, Any

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    NO,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    number,
    print_json,
)
from gatepost.cli.stores import open_existing
from gatepost.cli.tenant.common import (
    TenantArgument,
    account,
    document,
    in_words,
    is_active,
    pause_in_words,
    reason_of,
    say_done,
    tenant_in,
)
from gatepost.cli.tenant.parts import CampaignOption, DomainOption, part_of
from gatepost.cli.tenant.queue_work import desk, let_go, shown, wait_in_force, warn
from gatepost.errors import GatepostError
from gatepost.feedback.status import WHOLE, Part, Queued, Status
from gatepost.runtime.traffic.hands import PER_SECOND
from gatepost.runtime.traffic.returns import try_again
from gatepost.settings import Loaded, Loader
from gatepost.store.held import Cause
from gatepost.store.open import open_statuses
from gatepost.tenants.model import Tenant

PerSecondOption = Annotated[
    float,
    typer.Option(
        "--per-second",
        metavar="NUMBER",
        min=1,
        max=10_000,
        help="At most so many of the messages that waited are tried in a second.",
    ),
]


def command(
    name: TenantArgument,
    *,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")] = "",
    campaign: CampaignOption = "",
    domain: DomainOption = "",
    per_second: PerSecondOption = PER_SECOND,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Take back the pauses and any step of the ladder, and let the ladder count anew.

    Ends all of the operator's pauses of the tenant and the step that the ladder has taken; with
    --campaign or --domain, the one pause of that campaign, domain or both, and nothing else. From
    then on the ladder looks at complaints and bounces from the next full hour on only, so that what
    led to the step does not lead to it again; complaints that still come in about earlier mail do
    count. A pause-all or pause-marketing of the ladder ends in no other way.

    Mail that the pause has put on hold on this node is let go, and so is no mail that somebody else
    holds; that needs root. Mail that it has deferred is tried again. Both go out at --per-second,
    so that what has waited does not come back as one herd, and this command stays until all have
    been tried; what it has not come to when it is stopped is deferred mail as any other, or stays
    on hold, and gatepost tenant apply goes on with it. Other nodes have their deferred mail tried
    by their own back process.

    It is an event, tenant.status_changed, with the reason and who did it; mail that is let go is
    tenant.queue_released.

    Exit status: 0 resumed, or there was nothing to take back; 1 resumed, and mail that waits in the
    queue could not be let go; 2 usage or configuration error, or no database.

    Example: gatepost tenant resume acme --reason "list cleaned"
    """
    now = time.time()
    text = reason_of(reason)
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        tenant = tenant_in(loaded.snapshot, name)
        part = part_of(tenant, campaign, domain)
        only = None if part == WHOLE else part
        with closing(open_existing(open_statuses, loaded.settings)) as store:
            was = store.resume(name, now, account(), text, only)
            status = store.find(name)
            if _stopped_queue(was, only):
                wait_in_force(loaded, store)
        if not as_json:
            _say(name, was, only, tenant, now)
        done = _let_go(loaded, tenant, was, only, text, per_second, quiet=as_json)
    if as_json:
        print_json({**document(name, status, tenant, now), "queue": done})
    else:
        _say_queue(name, done)
    if done["on_hold"]:
        raise typer.Exit(NO)


def _say(name: str, was: Status, only: Part | None, tenant: Tenant, now: float) -> None:
    if only is not None:
        pause = was.pause_of(only)
        ended = pause is not None and pause.holds(now)
        words = f"goes on (was: {pause_in_words(pause)})" if pause and ended else "was not paused"
        say_done(name, f"{only.words()} {words}")
    elif is_active(was, now):
        say_done(name, "was active")
    else:
        say_done(name, f"active (was: {'; '.join(in_words(was, tenant, now))})")


def _stopped_queue(was: Status, only: Part | None) -> bool:
    pauses = [was.pause, *was.parts] if only is None else [was.pause_of(only)]
    return any(each is not None and each.queued is not Queued.KEEP for each in pauses)


def _let_go(
    loaded: Loaded,
    tenant: Tenant,
    was: Status,
    only: Part | None,
    reason: str,
    per_second: float,
    *,
    quiet: bool,
) -> dict[str, Any]:
    """Have what waits in the queue go on; a tenant that is resumed already stays so."""
    found: dict[str, Any] = {"released": 0, "tried": 0, "once_more": 0, "on_hold": 0}
    if not _stopped_queue(was, only):
        return found
    try:
        with desk(loaded, tenant) as at:
            rows = at.held_rows(Cause.PAUSE, only)
            found["on_hold"] = len(rows)
            if rows and os.geteuid() != 0:
                raise GatepostError(
                    f"{number(len(rows), 'message')} are on hold, and only root can let them go; "
                    "run gatepost tenant apply as root"
                )
            if rows:
                done = let_go(at, rows, only or WHOLE, reason, per_second, quiet=quiet)
                left = len(rows) - done.count - done.gone
                found |= {"released": done.count, "on_hold": left}
                if left:
                    raise GatepostError(
                        f"{number(left, 'message')} left on hold, as a new pause is about the same"
                    )
        pause = was.pause if only is None else None
        if pause is not None and pause.queued is Queued.RETRY:
            config_dir = loaded.settings.postfix_config_dir
            with shown("tried again", quiet=quiet) as progress:
                found["tried"], found["once_more"] = try_again(
                    config_dir, [tenant], loaded.snapshot, per_second, progress=progress
                )
    except GatepostError as error:
        found["problem"] = str(error)
    return found


def _say_queue(name: str, done: dict[str, Any]) -> None:
    if done["released"]:
        print(f"{name}: {number(done['released'], 'message')} let go on this node")
    if done["tried"]:
        print(f"{name}: {number(done['tried'], 'deferred message')} tried again on this node")
    if done["once_more"]:
        warn(
            f"Postfix remembered the pause for {number(done['once_more'], 'message')}, which the "
            "back process has tried in 40 seconds"
        )
    if problem := done.get("problem"):
        then = "" if done["on_hold"] else "; deferred mail goes out when its next attempt is due"
        warn(f"{problem}{then}")
