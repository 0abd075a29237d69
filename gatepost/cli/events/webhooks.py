"""``gatepost events webhooks``: how each webhook is getting on."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    number,
    print_json,
)
from gatepost.cli.events.common import webhook_named
from gatepost.cli.stores import open_existing
from gatepost.feedback.rules import Webhook
from gatepost.feedback.suppression_table import format_time
from gatepost.runtime.log import clean
from gatepost.runtime.overview import age
from gatepost.settings import Loader
from gatepost.store.events import EventStore
from gatepost.store.open import open_events, open_webhooks
from gatepost.store.webhooks import DeadLetter, WebhookState


@dataclass(frozen=True, slots=True)
class _Found:
    """What is known of one webhook; `state` is None for one that the back role has not met yet."""

    hook: Webhook
    state: WebhookState | None
    waiting: int
    oldest_at: float
    letters: tuple[DeadLetter, ...]


def command(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this webhook.")] = None,
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show each webhook of the configuration: how far it is, what went wrong, what was given up.

    For each: its URL and what it tells, how many events wait for it and how old the first of them
    is, when its consumer last took a batch, what went wrong last and when it is tried again, and
    its dead letters: batches that were tried for three days in vain.

    Exit status: 0; 2 usage or configuration error, or no database to read.
    """
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        snapshot = loaded.snapshot
        hooks = snapshot.webhooks if name is None else (webhook_named(name, snapshot),)
        with (
            closing(open_existing(open_events, loaded.settings)) as events,
            closing(open_existing(open_webhooks, loaded.settings)) as store,
        ):
            states = store.states()
            letters = store.dead(name)
            found = [
                _look(
                    hook,
                    states.get(hook.name),
                    events,
                    tuple(each for each in letters if each.webhook == hook.name),
                )
                for hook in hooks
            ]
    if as_json:
        print_json({"webhooks": [_document(each) for each in found]})
    elif not found:
        print("There are no webhooks in the configuration.")
    else:
        now = time.time()
        print("\n\n".join("\n".join(_lines(each, now)) for each in found))


def _look(
    hook: Webhook,
    state: WebhookState | None,
    events: EventStore,
    letters: tuple[DeadLetter, ...],
) -> _Found:
    if state is None:
        return _Found(hook, None, 0, 0, letters)
    waiting = events.count(state.position, events.end(), hook.tenant, hook.kinds)
    first = events.after(state.position, 1, hook.tenant, hook.kinds) if waiting else []
    return _Found(hook, state, waiting, first[0].event.at if first else 0, letters)


def _document(found: _Found) -> dict[str, Any]:
    hook, state = found.hook, found.state
    return {
        "name": hook.name,
        "url": hook.url,
        "tenant": hook.tenant,
        "events": None if hook.kinds is None else sorted(hook.kinds),
        "position": None if state is None else state.position,
        "waiting": found.waiting,
        "oldest_waiting": _time(found.oldest_at),
        "failures": 0 if state is None else state.tries,
        "failing_since": _time(state.first_at if state else 0),
        "next_try": _time(state.next_at if state else 0),
        "last_success": _time(state.success_at if state else 0),
        "last_error": None
        if state is None or not state.error
        else {"at": _time(state.error_at), "reason": state.error},
        "gone": state is not None and state.gone,
        "dead_letters": [
            {
                "after": each.span.begin,
                "upto": each.span.end,
                "events": each.events,
                "at": _time(each.at),
                "tries": each.tries,
                "reason": each.error,
                "requeued": each.requeued,
            }
            for each in found.letters
        ],
    }


def _time(at: float) -> str | None:
    return format_time(at) if at else None


def _lines(found: _Found, now: float) -> list[str]:
    hook, state = found.hook, found.state
    whose = "all tenants" if hook.tenant is None else f"tenant {hook.tenant}"
    what = "all events" if hook.kinds is None else ", ".join(sorted(hook.kinds))
    lines = [f"{hook.name}: {clean(hook.url)}", f"  tells:        {what} of {whose}"]
    if state is None:
        return [*lines, "  state:        not begun; the back role enters it when it runs"]
    lines.append(f"  state:        {_state(state, now)}")
    waiting = number(found.waiting, "event")
    if found.waiting:
        waiting += f", the first is {age(found.oldest_at, now)} old"
    lines.append(f"  waiting:      {waiting}")
    taken = f"{age(state.success_at, now)} ago" if state.success_at else "never"
    lines.append(f"  last success: {taken}")
    if state.error:
        lines.append(f"  last error:   {age(state.error_at, now)} ago: {clean(state.error)}")
    if found.letters:
        events = sum(each.events for each in found.letters)
        again = sum(each.requeued for each in found.letters)
        lines.append(
            f"  dead letters: {number(events, 'event')} in "
            + (f"{len(found.letters)} batches" if len(found.letters) > 1 else "1 batch")
            + (f", {again} of them to be sent again" if again else "")
            + f"; the last: {clean(found.letters[-1].error)}"
        )
    return lines


def _state(state: WebhookState, now: float) -> str:
    if state.gone:
        return "gone: its consumer answered 410; it is asked again after gatepost reload"
    if not state.tries:
        return "fine"
    wait = max(0, round(state.next_at - now))
    tries = "once" if state.tries == 1 else f"{state.tries} times"
    return f"failing for {age(state.first_at, now)}, tried {tries}; next in {wait} s"
