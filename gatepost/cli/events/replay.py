"""``gatepost events replay``: have a webhook tell events again."""

from __future__ import annotations

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
    fail,
    number,
    print_json,
)
from gatepost.cli.events.common import since_when, webhook_named
from gatepost.cli.stores import open_existing
from gatepost.feedback.rules import Webhook
from gatepost.settings import Loader
from gatepost.store.events import EventStore
from gatepost.store.open import open_events, open_webhooks
from gatepost.store.webhooks import WebhookStore


def command(
    *,
    name: Annotated[str, typer.Option("--webhook", metavar="NAME", help="The webhook.")],
    position: Annotated[
        int | None,
        typer.Option(
            "--from", min=0, metavar="POSITION", help="Go on with the event at this position."
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help="Go on with the first event of that time: a period such as 2h, or a time such as "
            "2027-01-31T08:00, in UTC unless it has a zone.",
        ),
    ] = None,
    dead: Annotated[
        bool, typer.Option("--dead", help="Send the batches again that were given up.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent, and change nothing.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Have a webhook send events again: from a place in the stream on, or its dead letters.

    With --from or --since the webhook goes back to that place and sends everything from there on
    once more, in order, before anything new. Positions are those that gatepost events tail --json
    shows. A place ahead of where the webhook is skips what lies between; the last position and one
    more skips all. What is older than feedback.keep_events is not there any more.

    With --dead its dead letters are sent again, each as the batch that it was, before the stream
    goes on; one that fails for another three days is a dead letter again.

    Events that are sent again have the ids that they had, and dead letters their webhook-id, so a
    consumer that remembers ids takes nothing twice. The back role notices within a second, and
    tries at once even a webhook that has been failing; if it does not run, it starts there later.

    Exit status: 0; 1 there is nothing to send again; 2 usage or configuration error.
    """
    chosen = (position is not None) + (since is not None) + dead
    if chosen != 1:
        fail("say what to send again: --from POSITION, --since WHEN or --dead")
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        hook = webhook_named(name, loaded.snapshot)
        with (
            closing(open_existing(open_events, loaded.settings)) as events,
            closing(open_existing(open_webhooks, loaded.settings)) as store,
        ):
            if dead:
                found = _dead(store, hook, dry_run=dry_run)
            else:
                if since is not None:
                    position = events.position_at(since_when(since, time.time())) + 1
                assert position is not None
                found = _move(events, store, hook, max(position - 1, 0), dry_run=dry_run)
    if as_json:
        print_json({"ok": True, "webhook": hook.name, "dry_run": dry_run, **found})
    else:
        print(_text(hook.name, found, dry_run=dry_run))
    if not found["events"] and not found["skipped"]:
        raise typer.Exit(NO)


def _dead(store: WebhookStore, hook: Webhook, *, dry_run: bool) -> dict[str, Any]:
    letters = store.dead(hook.name) if dry_run else store.requeue(hook.name)
    return {
        "events": sum(each.events for each in letters),
        "skipped": 0,
        "batches": len(letters),
        "dead": True,
    }


def _move(
    events: EventStore, store: WebhookStore, hook: Webhook, target: int, *, dry_run: bool
) -> dict[str, Any]:
    end = events.end()
    if target > end:
        fail(f"the last position is {end}; --from {end + 1} skips all that waits")
    state = store.state(hook.name)
    now_at = end if state is None else state.position
    again = events.count(target, now_at, hook.tenant, hook.kinds) if target < now_at else 0
    skipped = events.count(now_at, target, hook.tenant, hook.kinds) if target > now_at else 0
    if not dry_run:
        store.enter([hook.name], end)
        store.move(hook.name, target)
    return {"events": again, "skipped": skipped, "from": target + 1, "dead": False}


def _text(name: str, found: dict[str, Any], *, dry_run: bool) -> str:
    verb = "would be" if dry_run else "are"
    if found["dead"]:
        if not found["batches"]:
            return f"{name}: there are no dead letters"
        batches = "1 batch" if found["batches"] == 1 else f"{found['batches']} batches"
        return f"{name}: {number(found['events'], 'event')} in {batches} {verb} sent again"
    if found["skipped"]:
        return f"{name}: {number(found['skipped'], 'event')} {verb} skipped"
    if not found["events"]:
        return f"{name}: no event from position {found['from']} on has been told"
    return (
        f"{name}: {number(found['events'], 'event')} {verb} sent again, from position "
        f"{found['from']} on"
    )
