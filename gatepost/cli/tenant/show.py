"""``gatepost tenant show``: one tenant, its status, its rates and what happened to its status."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

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
from gatepost.cli.stores import open_existing, url_of
from gatepost.cli.tenant.common import TenantArgument, document, in_words, is_active, tenant_in
from gatepost.feedback.events import Event
from gatepost.feedback.ladder import Evidence, evidence_of, window_start
from gatepost.feedback.rates import By, rates_of
from gatepost.feedback.reporting import SHARES_ONLY, listed
from gatepost.feedback.status import Status, moment
from gatepost.settings import Loader, Settings
from gatepost.snapshot import Snapshot
from gatepost.store.open import is_missing, open_gmail, open_held, open_rates, open_statuses

_HISTORY = 10


def command(
    name: TenantArgument,
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show the status of one tenant, the rates that the ladder looks at, and the latest changes.

    The rates are those of the window of the ladder, or of what has passed since the last resume if
    that is less. A step is taken once the lower end of the 95 % interval reaches the threshold and
    there are as many deliveries and complaints as ladder.min_delivered and ladder.min_complaints
    say. Complaints are a share of the mail to providers that report; see gatepost feedback rates.

    Exit status: 0 active; 1 paused, or on a step of the ladder, also in mode observe; 2 usage or
    configuration error, or no database to read.

    Example: gatepost tenant show acme
    """
    now = time.time()
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        tenant = tenant_in(loaded.snapshot, name)
        with closing(open_existing(open_statuses, loaded.settings)) as store:
            status = store.find(name)
            history = store.history(name, _HISTORY)
        evidence = _evidence(loaded.settings, loaded.snapshot, name, status, now)
        held = _held(loaded.settings, name)
    if as_json:
        print_json(
            {
                **document(name, status, tenant, now),
                "held": held,
                "rates": [_rate(each, loaded.snapshot) for each in evidence],
                "history": [_change(each) for each in history],
            }
        )
    else:
        for index, line in enumerate(in_words(status, tenant, now)):
            _row("" if index else name, line)
        if held:
            _row("on hold", f"{number(held, 'message')} by Gatepost in the queue of this node")
        types = ", ".join(tenant.marketing_types) or "none is set, so nothing waits for marketing"
        _row("marketing", types)
        for index, each in enumerate(evidence):
            step = each.step(loaded.snapshot.ladder).keyword
            _row("" if index else "rates", f"{each.words()}: {step}")
        for index, event in enumerate(history):
            _row("" if index else "changes", _line(event))
    if not is_active(status, now):
        raise typer.Exit(NO)


def _held(settings: Settings, name: str) -> int:
    """Return how many messages Gatepost holds on this node."""
    url = url_of(open_held, settings)
    if is_missing(url):
        return 0
    with closing(open_held(url, create=False)) as store:
        return len(store.all(name))


def _evidence(
    settings: Settings, snapshot: Snapshot, name: str, status: Status, now: float
) -> list[Evidence]:
    start = window_start(status, snapshot.ladder, now)
    with (
        closing(open_existing(open_rates, settings)) as rates,
        closing(open_existing(open_gmail, settings)) as gmail,
    ):
        reporting = (listed(settings.feedback_loops) | rates.reporters(start)) - SHARES_ONLY
        sums = rates.sums(start, now, name) if start <= now else []
        found = rates_of(sums, By.TENANT, reporting)
        estimate = gmail.estimate(name, start, now)
    return evidence_of(found[0] if found else None, snapshot.ladder, estimate)


def _rate(evidence: Evidence, snapshot: Snapshot) -> dict[str, Any]:
    seen = evidence.measured
    return {
        "rate": evidence.what,
        "count": seen.count,
        "of": seen.of,
        "share": seen.share,
        "low": seen.low,
        "high": seen.high,
        "step": evidence.step(snapshot.ladder).keyword,
    }


def _change(event: Event) -> dict[str, Any]:
    return {"at": event.at, "id": event.id, **event.details}


def _line(event: Event) -> str:
    details = event.details
    by = f" by {details['by']}" if details.get("by") else ""
    mode = " (observe)" if details.get("mode") == "observe" else ""
    why = details.get("why") or details.get("reason") or ""
    return (
        f"{moment(event.at)} {details.get('whose')}{mode}: {details.get('from')} to "
        f"{details.get('to')}{by}{f', {why}' if why else ''}"
    )


def _row(title: str, text: str) -> None:
    print(f"{title:<12} {text}")
