"""``gatepost tenant hold`` and ``gatepost tenant release``: queued mail of a tenant."""

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
    fail,
    number,
    print_json,
)
from gatepost.cli.stores import open_existing
from gatepost.cli.tenant.common import TenantArgument, pause_in_words, reason_of, tenant_in
from gatepost.cli.tenant.parts import CampaignOption, DomainOption, part_of
from gatepost.cli.tenant.queue_work import (
    Desk,
    desk,
    left_out,
    left_out_lines,
    let_go,
    shown,
)
from gatepost.cli.tenant.resume import PerSecondOption
from gatepost.decisions.queued import Selection
from gatepost.feedback.events import EventKind
from gatepost.feedback.status import WHOLE, Part
from gatepost.runtime.traffic.hands import PER_SECOND, hold
from gatepost.runtime.traffic.queued import BATCH, DELIVERABLE, HELD, require_root
from gatepost.settings import Loader
from gatepost.store.held import Cause, Held
from gatepost.store.open import open_statuses

ReasonOption = Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")]


def hold_command(
    name: TenantArgument,
    *,
    campaign: CampaignOption = "",
    domain: DomainOption = "",
    reason: ReasonOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Put a tenant's queued mail on hold, on this node, now.

    Mail that comes later is not held; gatepost tenant pause stops that. On hold, mail is not tried
    and does not expire until gatepost tenant release. A message that is just being delivered is
    delivered. With --domain, a message that waits for other domains, too, is held with the rest.

    Whose a message is, its envelope sender tells, as it does for the transport map, or else the
    message book; one that two tenants could own, by these two, is left alone. The campaign is that
    of the message book, or else of the message's own header. It is an event, tenant.queue_held.

    Exit status: 0 done, also if there was no such mail; 2 usage or configuration error, not root,
    or Postfix cannot be asked.

    Example: gatepost tenant hold acme --campaign spring --reason "wrong prices"
    """
    text = reason_of(reason)
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        tenant = tenant_in(loaded.snapshot, name)
        part = part_of(tenant, campaign, domain)
        require_root()
        with desk(loaded, tenant) as at:
            selection = Selection(tenant, part)
            with shown("reading the queue", quiet=as_json) as progress:
                chosen = at.reader.choose(selection, DELIVERABLE, partly=True, progress=progress)
            with chosen:
                summary = chosen.summary
                with shown("put on hold", quiet=as_json) as progress:
                    done = hold(
                        chosen, at.held, name, Cause.OPERATOR, at.now, part, progress=progress
                    )
            if done.count:
                at.tell(EventKind.QUEUE_HELD, part, text, count=done.count)
    if as_json:
        print_json({"tenant": name, "held": done.count, "gone": done.gone, **left_out(summary)})
        return
    print(f"{name}: {number(done.count, 'queued message')} put on hold on this node")
    for line in left_out_lines(summary):
        print(line)


def release_command(
    name: TenantArgument,
    *,
    campaign: CampaignOption = "",
    domain: DomainOption = "",
    reason: ReasonOption = "",
    per_second: PerSecondOption = PER_SECOND,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Let go what gatepost tenant hold has put on hold on this node, and nothing else.

    What is on hold for a pause that is in force stays, as do messages that the operator, a quota or
    header_checks holds. Mail goes out at --per-second, so that what has waited does not come back
    as one herd, and this command stays until all has been tried; what is left when it is stopped
    stays on hold. It is an event, tenant.queue_released.

    Exit status: 0 done, also if nothing was held; 2 usage or configuration error, not root, or
    Postfix cannot be asked.

    Example: gatepost tenant release acme --campaign spring
    """
    text = reason_of(reason)
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        tenant = tenant_in(loaded.snapshot, name)
        part = part_of(tenant, campaign, domain)
        require_root()
        with closing(open_existing(open_statuses, loaded.settings)) as statuses:
            pauses = statuses.find(name).pauses_at(time.time())
        with desk(loaded, tenant) as at:
            rows = at.free_rows(None, pauses)
            if not rows and pauses and at.held_rows(Cause.PAUSE, None):
                fail(f"{pause_in_words(pauses[0])}; gatepost tenant resume lets its mail go")
            if part != WHOLE and rows:
                rows = _of_part(at, rows, part, quiet=as_json)
            done = let_go(at, rows, part, text, per_second, quiet=as_json)
    if as_json:
        print_json({"tenant": name, "released": done.count, "gone": done.gone})
        return
    gone = f"; {number(done.gone, 'message')} had left the hold queue" if done.gone else ""
    print(f"{name}: {number(done.count, 'message')} let go on this node{gone}")


def _of_part(at: Desk, rows: list[Held], part: Part, *, quiet: bool) -> list[Held]:
    """Return those of the messages on hold that are mail of a part."""
    with (
        shown("reading the queue", quiet=quiet) as progress,
        at.reader.choose(
            Selection(at.tenant, part), HELD, partly=True, progress=progress
        ) as chosen,
    ):
        meant = {
            (spot.instance, spot.queue_id) for _, spots in chosen.batches(BATCH) for spot in spots
        }
    return [each for each in rows if (each.instance, each.queue_id) in meant]
