"""``gatepost events tail``: the stream of events as lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Collection
from contextlib import closing
from typing import Annotated

import typer

from gatepost.cli.common import DEFAULT_CONFIG, ConfigOption, errors_to_exit
from gatepost.cli.events.common import since_when
from gatepost.cli.stores import open_existing
from gatepost.feedback.events import EventKind, as_data
from gatepost.feedback.suppression_table import format_time
from gatepost.runtime.log import clean, format_event
from gatepost.settings import Loader
from gatepost.store.events import EventStore, StoredEvent
from gatepost.store.open import open_events

EVENTS_AT_ONCE = 500
LOOK_S = 0.5
PLATFORM = "-"

_LINES = 20


def command(
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with events as they happen, until ^C.")
    ] = False,
    lines: Annotated[
        int,
        typer.Option("--lines", "-n", min=0, metavar="N", help="Begin N events before the end."),
    ] = _LINES,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help="Begin there instead: a period such as 2h, or a time such as 2027-01-31T08:00, "
            "in UTC unless it has a zone.",
        ),
    ] = None,
    tenant: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this tenant; - is the platform's own.")
    ] = None,
    kinds: Annotated[
        list[EventKind] | None,
        typer.Option("--type", metavar="TYPE", help="Only this type; may be given several times."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each event as one JSON object on one line.")
    ] = False,
) -> None:
    """Show the last events, one a line, and go on with new ones if asked to.

    A line has the time in UTC, the type, and what is known as name=value: the tenant (- for the
    platform's own), queue_id as in Postfix's log, from, to, and the details of that type. With
    --json it is the object that webhooks carry, with its position in the stream: the number that
    gatepost events replay --from takes.

    docs/events.md says what each type means and holds.

    Reading changes nothing, and is no webhook's business. Events are kept for
    feedback.keep_events.

    Exit status: 0 also if there are no events; 2 usage error, or no database to read.

    Example: gatepost events tail -f --tenant acme --type message.bounced
    """
    start = None if since is None else since_when(since, time.time())
    wanted = "" if tenant == PLATFORM else tenant
    with (
        errors_to_exit(as_json=as_json),
        closing(open_existing(open_events, Loader(config).settings())) as store,
    ):
        position = store.last(lines, wanted, kinds) if start is None else store.position_at(start)
        show = _as_json if as_json else _as_text
        try:
            _tail(store, position, wanted, kinds, show, follow=follow)
        except KeyboardInterrupt:
            # The one way to end it.
            return


def _tail(
    store: EventStore,
    position: int,
    tenant: str | None,
    kinds: Collection[EventKind] | None,
    show: Callable[[StoredEvent], str],
    *,
    follow: bool,
) -> None:
    end = store.end()
    while True:
        page = store.page(position, EVENTS_AT_ONCE, tenant, kinds, None if follow else end)
        for each in page.events:
            sys.stdout.write(show(each) + "\n")
        position = page.position
        if position < end:
            continue
        if not follow:
            return
        sys.stdout.flush()
        time.sleep(LOOK_S)
        end = store.end()


def _as_json(stored: StoredEvent) -> str:
    return json.dumps({"position": stored.position, **as_data(stored.event)})


def _as_text(stored: StoredEvent) -> str:
    event = stored.event
    moment = format_time(event.at)
    fields: dict[str, str | int | float | None] = {
        "tenant": event.tenant or PLATFORM,
        "queue_id": event.queue_id or None,
        "from": f"<{event.sender}>" if event.sender else None,
        "to": f"<{event.recipient}>" if event.recipient else None,
        "campaign": event.campaign or None,
        "mail_type": event.mail_type or None,
        "provider": event.provider or None,
        "reporter": event.reporter or None,
    }
    for name, value in event.details.items():
        taken = name == "event" or fields.get(name) is not None
        fields[f"{name}_" if taken else name] = value
    return clean(f"{moment} {format_event(event.kind.value, **fields)}")
