"""``gatepost tls share``: how much of the mail that went out was encrypted."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict
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
from gatepost.cli.percent import percent
from gatepost.cli.periods import seconds_of
from gatepost.cli.stores import open_existing
from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage
from gatepost.maillog.evidence import By, Check, Counts, Share, Weaker
from gatepost.maillog.model import TlsClass
from gatepost.runtime.log import clean
from gatepost.settings import Loader
from gatepost.store.open import open_deliveries

UNIDENTIFIED = "-"
# Of which a share is told; what was refused was not delivered.
CLASSES = (TlsClass.AUTHENTICATED, TlsClass.ENCRYPTED, TlsClass.PLAINTEXT, TlsClass.UNKNOWN)

_MARKS = {
    TlsClass.AUTHENTICATED: ("█", "#"),
    TlsClass.ENCRYPTED: ("▓", "="),
    TlsClass.PLAINTEXT: ("░", "-"),
    TlsClass.UNKNOWN: ("·", "."),
}
_NARROWEST_BAR = 10
_WIDEST_NAME = 40


def command(
    *,
    since: Annotated[str, typer.Option(metavar="PERIOD", help="How far back: 24h, 7d, 4w.")] = "7d",
    by: Annotated[By, typer.Option(help="What to tell apart.")] = By.DAY,
    tenant: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Only this tenant; - is mail of no tenant, ? of an unknown one."
        ),
    ] = None,
    domain: Annotated[
        str | None, typer.Option(metavar="DOMAIN", help="Only mail to this recipient domain.")
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(
            metavar="DOMAIN", help="Only mail to mail servers of this registrable domain."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Show at most N lines.")] = 20,
    sessions: Annotated[
        bool, typer.Option("--sessions", help="Draw SMTP sessions instead of deliveries.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Leave with 1 if mail had less TLS than was asked for.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show which part of the mail that went out was encrypted.

    Counts deliveries (one message to one recipient) and SMTP sessions, as Postfix's log proves
    them: authenticated with a verified certificate, encrypted without, plaintext, and unknown where
    the log does not tell. Only what was sent counts. The setting maillog has the log read as it is
    written; gatepost log ingest reads older ones. What is older than six hours is kept as counts
    for each day in UTC, so an earlier start is rounded to the day.

    With --check: the proof of enforcement. Every delivery that went out with less TLS than was
    asked for at that time, by the tenant's profile, the profile of the service that delivered or a
    rule for everyone, is listed: queue id, recipient, relay, what was asked and what it had.
    Deliveries of which the log does not tell are counted as unproven and do not change the status.

    Exit status: 0 fine; 1 with --check, if a delivery had less than was asked for; 2 usage error,
    or no database to read.
    """
    now = time.time()
    start = now - seconds_of(since)
    only = _filters(tenant, domain, provider)
    if check and (domain is not None or provider is not None):
        fail("--check takes --tenant, and neither --domain nor --provider")
    with (
        errors_to_exit(as_json=as_json),
        closing(open_existing(open_deliveries, Loader(config).settings())) as store,
    ):
        shares = store.share(start, now, by, only)
        proof = store.check(start, now, only.get(By.TENANT)) if check else None
    if as_json:
        print_json(_document(start, now, by, shares, proof))
    else:
        _print(shares, since, by, limit, sessions=sessions)
        if proof is not None:
            _print_proof(proof)
    if proof is not None and proof.weaker_count:
        raise typer.Exit(NO)


def percentages(counts: Counts) -> dict[str, float]:
    """Return the part of each class in hundredths of what was sent; nothing where nothing was."""
    sent = counts.sent
    if not sent:
        return {}
    parts = {each.value: 100 * getattr(counts, each) / sent for each in CLASSES}
    return {"protected": 100 * counts.protected / sent, **parts}


def _filters(tenant: str | None, domain: str | None, provider: str | None) -> dict[By, str]:
    only: dict[By, str] = {}
    if tenant is not None:
        only[By.TENANT] = "" if tenant == UNIDENTIFIED else tenant
    for key, name in ((By.DOMAIN, domain), (By.PROVIDER, provider)):
        if name is not None:
            try:
                only[key] = normalise_domain(name)
            except MalformedMessage as error:
                fail(f"--{key.value}: {error}")
    return only


def _sum(counts: Iterable[Counts]) -> Counts:
    total = Counts()
    for each in counts:
        for name in TlsClass:
            total = total.plus(name, getattr(each, name))
    return total


def _document(
    start: float, end: float, by: By, shares: Sequence[Share], proof: Check | None
) -> dict[str, Any]:
    total = Share(
        "total", _sum(each.deliveries for each in shares), _sum(each.sessions for each in shares)
    )
    document = {
        "since": start,
        "until": end,
        "total": _share(total),
        "by": by.value,
        "shares": [_share(each) for each in shares],
    }
    return document if proof is None else {**document, "check": asdict(proof)}


def _share(share: Share) -> dict[str, Any]:
    return {
        "name": share.name,
        "deliveries": {**asdict(share.deliveries), "percent": percentages(share.deliveries)},
        "sessions": {**asdict(share.sessions), "percent": percentages(share.sessions)},
    }


def _print(shares: Sequence[Share], since: str, by: By, limit: int, *, sessions: bool) -> None:
    deliveries = _sum(each.deliveries for each in shares)
    if not deliveries.sent:
        print(
            f"no delivery in the last {since}"
            + (f"; {number(deliveries.refused, 'delivery')} refused" if deliveries.refused else "")
        )
        print("maillog in the configuration has the log read; gatepost log ingest reads old ones")
        return
    for what, counts in (
        ("deliveries", deliveries),
        ("sessions", _sum(each.sessions for each in shares)),
    ):
        _print_total(what, counts)
    print()
    _print_chart(shares, by, limit, sessions=sessions)


def _print_total(what: str, counts: Counts) -> None:
    if not counts.sent:
        print(f"{what:<10}  none")
        return
    sent = counts.sent
    rest = ", ".join(f"{percent(getattr(counts, each), sent)} {each.value}" for each in CLASSES)
    refused = f"; {counts.refused:,} refused for want of TLS" if counts.refused else ""
    print(f"{what:<10}  {sent:,}: {percent(counts.protected, sent)} protected ({rest}){refused}")


def _print_chart(shares: Sequence[Share], by: By, limit: int, *, sessions: bool) -> None:
    rows = [(_shown(each, by), each.sessions if sessions else each.deliveries) for each in shares]
    rows = [row for row in rows if row[1].sent]
    # Of days the latest matter most, of everything else the largest.
    shown = rows[-limit:] if by is By.DAY else rows[:limit]
    name_width = min(_WIDEST_NAME, max(len(by.value), *(len(name) for name, _ in shown)))
    most = max(len(f"{counts.sent:,}") for _, counts in shown)
    bar_width = max(
        _NARROWEST_BAR, shutil.get_terminal_size((100, 24)).columns - name_width - most - 14
    )
    blocks = _has_blocks()
    for name, counts in shown:
        part = percent(counts.protected, counts.sent)
        bar = _bar(counts, bar_width, blocks=blocks)
        print(f"{name[:name_width]:<{name_width}} {counts.sent:>{most},}  {part:>7}  {bar}")
    if len(rows) > len(shown):
        print(f"and {len(rows) - len(shown)} more; --limit shows more, --json all")
    marks = ", ".join(f"{_mark(each, blocks=blocks)} {each.value}" for each in CLASSES)
    print(f"\n{'sessions' if sessions else 'deliveries'} by {by.value}: {marks}")


def _shown(share: Share, by: By) -> str:
    if by is By.TENANT:
        return share.name or UNIDENTIFIED
    return clean(share.name) or "(none)"


def _has_blocks() -> bool:
    try:
        "".join(marks[0] for marks in _MARKS.values()).encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _mark(each: TlsClass, *, blocks: bool) -> str:
    return _MARKS[each][0 if blocks else 1]


def _bar(counts: Counts, width: int, *, blocks: bool) -> str:
    """Return a bar; a class with any mail at all has a mark, so that none is overlooked."""
    cells = {each: getattr(counts, each) * width // counts.sent for each in CLASSES}
    for each in CLASSES:
        if getattr(counts, each) and not cells[each]:
            cells[each] = 1
    largest = max(CLASSES, key=lambda each: cells[each])
    cells[largest] += width - sum(cells.values())
    return "".join(_mark(each, blocks=blocks) * cells[each] for each in CLASSES)


def _print_proof(proof: Check) -> None:
    print()
    asked = number(proof.asked, "message-recipient")
    # A log that nobody reads any more proves nothing.
    last = (
        "no delivery was seen" if proof.last_at is None else f"last delivery {_at(proof.last_at)}"
    )
    print(
        f"TLS was asked for {asked}: {proof.weaker_count} had less, {proof.unproven} unproven; "
        f"{last}"
    )
    for each in proof.weaker:
        print(f"    {_weaker(each)}")


def _at(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def _weaker(each: Weaker) -> str:
    who = each.tenant or UNIDENTIFIED
    return clean(
        f"{_at(each.at)} {each.queue_id} {who} to=<{each.recipient}> relay={each.relay} "
        f"service={each.service or UNIDENTIFIED}: asked {each.asked}, got {each.got}"
    )
