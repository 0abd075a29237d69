"""``gatepost feedback rates``: complaints, bounces and unsubscriptions, with their intervals."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    print_json,
)
from gatepost.cli.periods import seconds_of
from gatepost.cli.stores import open_existing
from gatepost.feedback.feedback_id import encode_label
from gatepost.feedback.rates import By, Measured, Rates, providers_that_report, rates_of
from gatepost.feedback.reporting import GMAIL, listed
from gatepost.runtime.log import clean
from gatepost.settings import Loader
from gatepost.store.events import EventCount
from gatepost.store.gmail import GmailDay
from gatepost.store.open import open_events, open_gmail

_WIDEST_NAME = 40
_PREFIXES = {By.TENANT: "t", By.CAMPAIGN: "c", By.MAIL_TYPE: "m"}


@dataclass(frozen=True, slots=True)
class AtGmail:
    """What Gmail said in the period: the mean of its daily shares, the worst, and of how many."""

    mean: float
    worst: float
    days: int


def command(
    *,
    since: Annotated[str, typer.Option(metavar="PERIOD", help="How far back: 24h, 7d, 4w.")] = "7d",
    by: Annotated[By, typer.Option(help="What to tell apart.")] = By.TENANT,
    tenant: Annotated[
        str | None, typer.Option(metavar="ID", help="Only mail of this tenant.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Show at most N lines.")] = 20,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show the rates of complaints, bounces and unsubscriptions, each with its 95 % interval.

    0.30% [0.10-0.88] is what was seen, and between which bounds the true rate lies with a
    probability of 95 %: after few messages they are far apart, and prove little. The ladder acts on
    the lower one.

    Complaints are a share of deliveries to providers that report them message by message, by the
    loops in feedback.loops, and to any that has reported in the period. Hard bounces are a share of
    deliveries and final failures together, unsubscriptions one of all deliveries. Gmail reports no
    messages: it tells, day by day, which share of the mail of a value in Feedback-ID was reported,
    if there was enough of it.
    The mean and the worst of these days stand beside, where feedback.postmaster_token is set;
    values are those of Feedback-ID, so the same campaign of two tenants is one there.

    Deliveries come from the mail log (the setting maillog). Counts are by the hour, so the period
    begins with the hour that holds its start. They are kept for 400 days.

    Exit status: 0 fine; 2 usage error, or no database to read.

    Example: gatepost feedback rates --by campaign --tenant acme --since 30d
    """
    now = time.time()
    start = now - seconds_of(since)
    with errors_to_exit(as_json=as_json):
        settings = Loader(config).settings()
        with closing(open_existing(open_events, settings)) as store:
            counts = store.counts(start, now)
        with closing(open_existing(open_gmail, settings)) as gmail:
            days = gmail.shares(start, now)
    reporting = providers_that_report(counts, listed(settings.feedback_loops))
    rates = rates_of(counts, by, reporting, tenant)
    beside = [_at_gmail(each, by, days) for each in rates]
    if as_json:
        print_json(_document(start, now, by, rates, beside))
    else:
        _print(rates, beside, by, since, limit, reporting)
        _print_classes(counts, tenant)


def _at_gmail(rates: Rates, by: By, days: Sequence[GmailDay]) -> AtGmail | None:
    """Return what Gmail said of a line of the table, or None."""
    if by is By.PROVIDER:
        label = "" if rates.name == GMAIL else None
    else:
        name = rates.tenant if by is By.TENANT else rates.name
        label = _PREFIXES[by] + encode_label(name) if name else None
    if label is None:
        return None
    worst: dict[int, float] = {}
    for each in days:
        if each.label == label:
            # Where two domains signed the same mail, the worse share counts.
            worst[each.day] = max(each.share, worst.get(each.day, 0.0))
    if not worst:
        return None
    return AtGmail(sum(worst.values()) / len(worst), max(worst.values()), len(worst))


def _document(
    start: float, end: float, by: By, rates: Sequence[Rates], gmail: Sequence[AtGmail | None]
) -> dict[str, Any]:
    return {
        "since": start,
        "until": end,
        "by": by.value,
        "rates": [
            {
                "tenant": each.tenant,
                **({} if by is By.TENANT else {by.value: each.name}),
                "delivered": each.delivered,
                "bounced": {"total": each.failed, "hard": each.hard, "classes": each.bounced},
                "complaints": _measured(each.complaints),
                "hard_bounces": _measured(each.bounces),
                "unsubscriptions": _measured(each.unsubscriptions),
                "gmail": None
                if beside is None
                else {"mean": beside.mean, "worst": beside.worst, "days": beside.days},
            }
            for each, beside in zip(rates, gmail, strict=True)
        ],
    }


def _measured(seen: Measured) -> dict[str, Any]:
    # Of nothing, nothing is known, and that is no rate of 0.
    return {
        "count": seen.count,
        "of": seen.of,
        "share": seen.share if seen.of else None,
        "low": seen.low if seen.of else None,
        "high": seen.high if seen.of else None,
    }


def _print(
    rates: Sequence[Rates],
    gmail: Sequence[AtGmail | None],
    by: By,
    since: str,
    limit: int,
    reporting: Collection[str],
) -> None:
    if not rates:
        print(f"no delivery, bounce or complaint in the last {since}")
        print("maillog in the configuration has the log read, and deliveries counted")
        return
    rows = [
        (_name(each, by, reporting), f"{each.delivered:,}", *_cells(each), _gmail(beside))
        for each, beside in zip(rates[:limit], gmail[:limit], strict=True)
    ]
    heads = (by.value, "delivered", "complaints", "hard bounces", "unsubscribed", "at Gmail")
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        # Numbers of deliveries end in one column, everything else begins in one.
        cells = [
            f"{cell:>{width}}" if index == 1 else f"{cell:<{width}}"
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    if by is By.PROVIDER and any(each.name in reporting for each in rates[:limit]):
        print("* reports complaints message by message")
    if len(rates) > limit:
        print(f"and {len(rates) - limit} more; --limit shows more, --json all")


def _name(rates: Rates, by: By, reporting: Collection[str]) -> str:
    if by is By.TENANT:
        return rates.tenant or "(none)"
    name = clean(rates.name)[:_WIDEST_NAME] or "(none)"
    if by is By.PROVIDER:
        return f"{name} *" if rates.name in reporting else name
    return f"{rates.tenant or '(none)'}/{name}"


def _cells(rates: Rates) -> tuple[str, ...]:
    return tuple(map(_cell, (rates.complaints, rates.bounces, rates.unsubscriptions)))


def _cell(seen: Measured) -> str:
    if not seen.of:
        return "-"
    share, low, high = (f"{100 * each:.2f}" for each in (seen.share, seen.low, seen.high))
    return f"{share}% [{low}-{high}] {seen.count:,}"


def _gmail(beside: AtGmail | None) -> str:
    if beside is None:
        return "-"
    return f"{100 * beside.mean:.2f}% (worst {100 * beside.worst:.2f}%, {beside.days} d)"


def _print_classes(counts: Sequence[EventCount], tenant: str | None) -> None:
    """Print why mail bounced, the most frequent reason first."""
    classes: Counter[str] = Counter()
    for each in rates_of(counts, By.TENANT, frozenset(), tenant):
        classes.update(each.bounced)
    if classes:
        ordered = sorted(classes.items(), key=lambda item: (-item[1], item[0]))
        print("\nbounced: " + ", ".join(f"{clean(name)} {count:,}" for name, count in ordered))
