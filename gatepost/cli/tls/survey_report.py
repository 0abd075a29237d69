"""``gatepost tls survey report``: what the survey knows, added up."""

from __future__ import annotations

import contextlib
import csv
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    fail,
    print_json,
)
from gatepost.cli.percent import percent
from gatepost.cli.periods import seconds_of
from gatepost.cli.stores import open_existing
from gatepost.cli.tls.survey_rows import WIDTH
from gatepost.maillog.evidence import By
from gatepost.settings import Loader, Settings
from gatepost.store.open import open_deliveries, open_survey
from gatepost.store.survey import Change, Run
from gatepost.tls.survey.report import Summary, Tally, summarise

SHOWN_CHANGES = 30
# Runs of one survey, each broken off and gone on with.
_LOOKED_AT = 100
_PROPERTIES = ("starttls", "version", "certificate", "dane", "sts")
_HEADINGS = {
    "starttls": "STARTTLS", "version": "TLS version (oldest)", "certificate": "certificate (worst)",
    "dane": "DANE", "sts": "MTA-STS",
}  # fmt: skip


def command(
    *,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="PERIOD",
            help="Changes of this period; without it, since the last survey began.",
        ),
    ] = None,
    seen_within: Annotated[
        str, typer.Option(metavar="PERIOD", help="Only domains that were looked up in this period.")
    ] = "30d",
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of tables.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show what the survey knows: hosts and domains by what they offer, and what has changed.

    Mail exchangers (each once), domains (each once), and, where the log knows deliveries of the
    last 30 days, domains weighted with these, since a share of servers says little about a share of
    mail. A domain is called after its worst server that could be reached; some-hosts is a domain
    where some offer STARTTLS and others do not. Of a server that was busy the last time, what was
    known before counts.

    Changes are servers whose answer differs from the one before, in STARTTLS or certificate.

    Exit status: 0 fine; 2 usage error, or no database to read.
    """
    if as_csv and as_json:
        fail("--csv and --json exclude each other")
    now = time.time()
    known_since = now - seconds_of(seen_within, "--seen-within")
    with errors_to_exit(as_json=as_json):
        settings = Loader(config).settings()
        with contextlib.closing(open_existing(open_survey, settings)) as store:
            begun = _last_began(store.runs(_LOOKED_AT), now)
            start = begun if since is None else now - seconds_of(since)
            summary = summarise(store.domains(resolved_since=known_since), _weights(settings, now))
            changes = store.changes(start)
    if as_json:
        print_json(_document(summary, changes, start))
    elif as_csv:
        _print_csv(summary)
    else:
        _print(summary, changes, start)


def _last_began(runs: Sequence[Run], now: float) -> float:
    """Return when the last survey began, of which some runs may have been broken off."""
    begun = now
    for number, run in enumerate(runs):
        if number and (run.ended_at is not None or run.source != runs[0].source):
            break
        begun = run.started_at
    return begun


def _weights(settings: Settings, now: float) -> dict[str, int]:
    with contextlib.closing(open_existing(open_deliveries, settings)) as store:
        shares = store.share(now - 30 * 86400, now, By.DOMAIN)
    return {each.name: each.deliveries.sent for each in shares if each.deliveries.sent}


def _tallies(summary: Summary) -> Mapping[str, Tally]:
    return {"domains": summary.domains, "hosts": summary.hosts, "deliveries": summary.traffic}


def _document(summary: Summary, changes: Sequence[Change], since: float) -> dict[str, Any]:
    counts = {
        name: {"count": tally.count, **{each: getattr(tally, each) for each in _PROPERTIES}}
        for name, tally in _tallies(summary).items()
    }
    return {
        **counts,
        "deliveries_to_unsurveyed_domains": summary.unsurveyed,
        "changes_since": since,
        "changes": [asdict(each) for each in changes],
    }


def _print_csv(summary: Summary) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(("of", "property", "value", "count"))
    for name, tally in _tallies(summary).items():
        for each in _PROPERTIES:
            for value, count in getattr(tally, each).most_common():
                writer.writerow((name, each, value, count))


def _print(summary: Summary, changes: Sequence[Change], since: float) -> None:
    if not summary.domains.count:
        print("nothing was surveyed in this period; gatepost tls survey FILE does it")
        return
    tallies = {name: tally for name, tally in _tallies(summary).items() if tally.count}
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name, tally in tallies.items():
        table.add_column(f"{name} ({tally.count:,})", justify="right")
    for each in _PROPERTIES:
        _add_rows(table, each, tallies)
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDTH)
    console.print(table)
    if summary.unsurveyed:
        print(f"{summary.unsurveyed:,} deliveries went to domains that were not surveyed")
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(since))
    print(f"{len(changes)} changes since {when}" if changes else f"no changes since {when}")
    for change in changes[-SHOWN_CHANGES:]:
        at = time.strftime("%Y-%m-%d %H:%M", time.localtime(change.at))
        print(
            f"    {at} {change.host}[{change.address}] {change.kind}: {change.was} -> {change.now}"
        )


def _add_rows(table: Table, name: str, tallies: Mapping[str, Tally]) -> None:
    counters = [getattr(tally, name) for tally in tallies.values()]
    values = list(
        dict.fromkeys(value for counter in counters for value, _ in counter.most_common())
    )
    if values:
        table.add_row(_HEADINGS[name])
    for value in values:
        cells = [
            f"{counter[value]:,} ({percent(counter[value], total)})" if counter[value] else "-"
            for counter in counters
            for total in [max(counter.total(), 1)]
        ]
        table.add_row(f"  {value}", *cells)
