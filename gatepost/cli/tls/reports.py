"""``gatepost tls reports``: what others report of mail to our domains."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
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
from gatepost.cli.stores import open_existing
from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage
from gatepost.maillog.evidence import Counts, count_deliveries
from gatepost.runtime.log import clean
from gatepost.settings import Loader, Settings
from gatepost.store.open import open_deliveries, open_tls_reports
from gatepost.store.tls_reports import KEEP_S, Added, DomainSum, FailureSum, TlsReportStore
from gatepost.tls.tlsrpt import TlsReport, read_report
from gatepost.tls.tlsrpt.advice import advice
from gatepost.tls.tlsrpt.limits import MAX_OCTETS

STANDARD_INPUT = "-"

_DAY_S = 86400
_SHOWN = 4
_WORDS = {
    Added.NEW: "new",
    Added.KNOWN: "known already",
    Added.DIFFERS: "known already with other content; the first stays",
}

app = typer.Typer(invoke_without_command=True)


@app.callback()
def show(
    context: typer.Context,
    *,
    days: Annotated[
        int, typer.Option(min=1, max=400, metavar="N", help="How many days back.")
    ] = 30,
    domain: Annotated[
        str | None, typer.Option(metavar="DOMAIN", help="Only what is said of this domain.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show what others report of mail to your domains (TLSRPT, RFC 8460).

    A domain that publishes _smtp._tls.DOMAIN in DNS gets reports from those who send mail to it:
    how many sessions were encrypted as its MTA-STS policy or its TLSA records ask, and how the
    others failed. So these numbers are about mail that comes in, and about policies and servers
    that you publish. They say nothing of the mail that you send; for that, see tls share.

    Failures stand below their domain, the most frequent first, each with what to look at, and then
    what our own log knows of mail from here to that domain, for comparison: messages, where the
    reports count sessions. Periods are days in UTC. Who reports proves nothing of what it
    says: compare several, and your own servers.

    Reports get in by "gatepost tls reports add". They are kept for 400 days.

    Exit status: 0 fine, also if nothing was reported; 2 usage error, or no database to read.

    Example: gatepost tls reports --days 7 --domain example.org
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    with errors_to_exit(as_json=as_json):
        wanted = None if domain is None else normalise_domain(domain)
        settings = Loader(config).settings()
        since = (time.time() // _DAY_S - days) * _DAY_S
        with contextlib.closing(open_existing(open_tls_reports, settings)) as store:
            sums = store.domains(since, wanted)
        own = _own(settings, since, sums)
    if as_json:
        document = [asdict(each) | {"own_deliveries": asdict(own[each.domain])} for each in sums]
        print_json({"since": since, "domains": document})
    elif not sums:
        print(f"no report in the last {number(days, 'day')}")
    else:
        for line in _text(sums, own):
            print(clean(line))


@app.command("add")
def add(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Mails or reports; - is standard input.")
    ],
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Take in TLS reports that came by mail or as files.

    A FILE holds one mail with one or more reports, or one report as JSON; either may be
    compressed with gzip. Files of a Maildir are mails: gatepost tls reports add Maildir/new/*. For
    a mailbox in mbox format: formail -s gatepost tls reports add - < MBOX.

    A report that is there already is not counted again. What a report has otherwise than RFC 8460
    wants is read as it was meant, and told. At most 16 MiB of a file is taken, unpacked.

    Exit status: 0 all files were taken; 1 some hold no report, which are named, and the others
    were taken; 2 usage error, or the database cannot be opened.
    """
    now = time.time()
    with errors_to_exit(as_json=as_json):
        settings = Loader(config).settings()
        with contextlib.closing(open_tls_reports(settings.local_state)) as store:
            results = [_take(store, name, now) for name in files]
            store.prune(now - KEEP_S)
    failed = [result for result in results if "error" in result]
    if as_json:
        print_json({"ok": not failed, "files": results})
    else:
        for result in results:
            for line in _outcome(result):
                print(line, file=sys.stderr if "error" in result else sys.stdout)
    if failed:
        raise typer.Exit(NO)


def _refuse_options(context: typer.Context) -> None:
    # They would be read here and not where they are meant.
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            fail(f"write options behind {context.invoked_subcommand}, not before it")


def _take(store: TlsReportStore, name: str, now: float) -> dict[str, Any]:
    try:
        octets = _read(name)
        reports = read_report(octets, name)
    except (MalformedMessage, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        return {"file": name, "error": reason or str(error)}
    return {
        "file": name,
        "reports": [
            {"outcome": store.add(each, now, Path(name).name), **_summary(each)} for each in reports
        ],
    }


def _read(name: str) -> bytes:
    if name == STANDARD_INPUT:
        return sys.stdin.buffer.read(MAX_OCTETS + 1)
    with Path(name).open("rb") as file:
        return file.read(MAX_OCTETS + 1)


def _summary(report: TlsReport) -> dict[str, Any]:
    return {
        "organization": report.organization,
        "report_id": report.report_id,
        "start": report.start,
        "domains": [each for each in report.domains if each],
        "successes": sum(each.successes for each in report.policies),
        "failures": sum(each.failures for each in report.policies),
        "deviations": list(report.deviations),
    }


def _outcome(result: dict[str, Any]) -> Iterator[str]:
    name = clean(result["file"])
    if "error" in result:
        yield clean(f"gatepost: {name}: {result['error']}")
        return
    for each in result["reports"]:
        day = "period unknown" if each["start"] is None else _day(each["start"])
        about = ", ".join(each["domains"]) or "no domain named"
        yield clean(
            f"{name}: {_WORDS[each['outcome']]}: {each['organization']}, {day}, {about}: "
            f"{each['successes']} successful, {each['failures']} failed"
        )
        for deviation in each["deviations"]:
            yield clean(f"    not as in RFC 8460: {deviation}")


def _own(settings: Settings, since: float, sums: Iterable[DomainSum]) -> defaultdict[str, Counts]:
    """Return what our own log says of deliveries from here to the domains in the reports."""
    found: defaultdict[str, Counts] = defaultdict(Counts)
    with contextlib.closing(open_existing(open_deliveries, settings)) as store:
        for each in sums:
            seen = store.destinations(since, time.time(), each.domain)
            found[each.domain] = count_deliveries(s for relay in seen for s in relay.seen)
    return found


def _text(sums: Iterable[DomainSum], own: Mapping[str, Counts]) -> Iterator[str]:
    for each in sums:
        sessions = each.successes + each.failures
        share = f" ({percent(each.failures, sessions)})" if each.failures else ""
        yield (
            f"{each.domain or '(no domain named)'}: {each.successes} sessions successful, "
            f"{each.failures} failed{share}"
        )
        yield (
            f"    {_period(each.first_at, each.last_at)}, "
            f"{number(each.reports, 'report')} by {_listed(each.organizations)}; "
            f"policy {_listed(each.policy_types)}"
        )
        for failure in each.by_type:
            yield from _failure(failure)
        ours = own[each.domain]
        if ours.sent or ours.refused:
            share = f", {percent(ours.protected, ours.sent)} encrypted" if ours.sent else ""
            refused = f", {ours.refused} refused for want of TLS" if ours.refused else ""
            yield f"    from here, by our own log: {ours.sent} delivered there{share}{refused}"


def _failure(failure: FailureSum) -> Iterator[str]:
    at = f" at {_listed(failure.hosts)}" if failure.hosts else ""
    reason = f" ({failure.reason})" if failure.reason else ""
    yield (
        f"    {failure.result_type}: {failure.count}{at}, last {_day(failure.last_at)}, "
        f"by {_listed(failure.organizations)}{reason}"
    )
    if text := advice(failure.result_type):
        yield f"        {text}"


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def _period(first_at: float, last_at: float) -> str:
    first, last = _day(first_at), _day(last_at)
    return first if first == last else f"{first} to {last}"


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
