"""``gatepost tls survey``: probe mail servers, and show what is known of them."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import os
import ssl
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from typer.core import TyperGroup

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
from gatepost.cli.periods import seconds_of
from gatepost.cli.stores import open_existing
from gatepost.cli.tls import survey_report
from gatepost.cli.tls.survey_rows import print_csv, print_table, rows_of
from gatepost.domains import normalise_domain
from gatepost.errors import GatepostError, MalformedMessage
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.detect import parse_settings
from gatepost.runtime.tls.survey import DAY_S, IN_FLIGHT, Options, Progress
from gatepost.runtime.tls.survey_names import Network
from gatepost.runtime.tls.survey_setup import Conduct, read_names, run_survey
from gatepost.settings import Loader, Settings
from gatepost.store.open import open_deliveries, open_survey
from gatepost.store.survey import SurveyStore
from gatepost.tls.nexthop import NextHop
from gatepost.tls.survey.optout import OptOut, parse_opt_out
from gatepost.tls.survey.pacing import Forecast, Pace
from gatepost.tls.survey.probe import BOTH_VERSIONS, Timeouts

STANDARD_INPUT = "-"
OPT_OUT_FILE = "survey-opt-out"
_SHOWN_PROBLEMS = 5
_CA_FILE = "smtp_tls_CAfile"
_CA_PATH = "smtp_tls_CApath"
# With or without the mark that Windows puts at the beginning.
_ENCODING = "utf-8-sig"


class _Group(TyperGroup):
    """Takes what is no command of its own for the arguments of ``run``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the command in where it was left out."""
        named = args and (args[0] in self.commands or args[0] in ctx.help_option_names)
        rest: list[str] = super().parse_args(ctx, args if named else ["run", *args])
        return rest


app = typer.Typer(
    cls=_Group,
    help="""Probe mail servers and keep what they offer: gatepost tls survey FILE is short for
    gatepost tls survey run FILE.""",
)


@app.callback()
def _commands() -> None:
    """Probe mail servers and keep what they offer.

    "gatepost tls survey FILE" is short for "gatepost tls survey run FILE".
    """


app.command("report")(survey_report.command)


@app.command("run")
def run(  # noqa: PLR0913 - the options of a command
    *,
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]",
            help="Domains, [hosts] or addresses of mail, one a line; - is standard input.",
        ),
    ] = None,
    from_log: Annotated[
        bool, typer.Option("--from-log", help="The domains that mail was delivered to.")
    ] = False,
    tenant: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The domains that mail of this tenant was delivered to."),
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="PERIOD", help="How far back to look for deliveries.")
    ] = "30d",
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Probe at most N servers.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look names up, probe nobody, say how long it takes.")
    ] = False,
    ehlo: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Our name in EHLO. Without it, Postfix's myhostname."),
    ] = None,
    force_ehlo: Annotated[
        bool, typer.Option("--force-ehlo", help="Go on though PTR and address do not vouch for it.")
    ] = False,
    source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Connect from this address, and only over its version; one IPv4, one IPv6.",
        ),
    ] = None,
    opt_out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=f"Whom to leave alone. Without it, {OPT_OUT_FILE} beside the configuration.",
        ),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(metavar="NETWORK", help="Probe this network too, though it is not public."),
    ] = None,
    in_flight: Annotated[
        int, typer.Option(min=1, max=20_000, metavar="N", help="Probes at once.")
    ] = IN_FLIGHT,
    network_delay: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Between visits to a /24 or /48.")
    ] = 30.0,
    provider_delay: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Between visits to a provider.")
    ] = 30.0,
    per_provider: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Servers of one provider in a run; 0 for all of them."
        ),
    ] = 500,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.1,
            metavar="SECONDS",
            help="To wait for a greeting; half of it for each later step, a quarter to connect.",
        ),
    ] = 60.0,
    no_sts: Annotated[
        bool, typer.Option("--no-sts", help="Do not fetch MTA-STS policies.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Probe mail servers: do they offer STARTTLS, and what is it worth?

    Each name is looked up in DNS: MX records, addresses, TLSA records, MTA-STS policy. Each address
    is visited once: greeting, EHLO, STARTTLS, handshake, EHLO, QUIT. Nobody is sent mail, and no
    recipient is asked for. Names in [brackets] are hosts whose MX records are not looked up.

    What is known goes to the database, for tls survey report, tls promote and the check at RCPT
    time. A server that is busy, greylists or cannot be reached has said nothing about TLS, and what
    was known of it stays.

    Conduct: an address is visited once in 24 hours, and never twice at once; 30 s pass between two
    visits to one network (/24, /48) and between two to one provider (the registrable domain of the
    MX host), of whose servers the first 500 of a run are visited, or those of one provider would
    take weeks. Before the first visit, the PTR record of our address has to say our EHLO name, and
    the name our address: servers list those who lie about it. Use an address that does not send
    mail (--source; without it, the IP versions in Postfix's inet_protocols are used), and have a
    web page at the name that says what this is. Who does not want to be visited goes into the
    opt-out file: a domain, address or network on each line. Addresses that are not public are left
    out, as are all but the 20 first hosts of a domain.

    A run may be killed at any time. The same command goes on where it was: who was visited is
    written down before the visit. The first Ctrl-C lets the visits that go on end.

    With --dry-run, what DNS says is stored, and printed with how long a run would take at least.

    Exit status: 0 fine; 1 broken off by a signal; 2 usage or configuration error.
    """
    if sum([file is not None, from_log, tenant is not None]) != 1:
        fail("name one of: FILE, - for standard input, --from-log, --tenant ID")
    if as_csv and as_json:
        fail("--csv and --json exclude each other")
    start = time.time() - seconds_of(since)
    with errors_to_exit(as_json=as_json):
        settings = Loader(config).settings()
        ca_file, ca_path = _roots(settings)
        conduct = Conduct(
            _name(ehlo, settings),
            check_ehlo=not force_ehlo,
            sources=_sources(source or []),
            versions=_versions(source or [], settings),
            opt_out=_opt_out(opt_out, config),
            also=tuple(map(_network, also or [])),
            sts=not no_sts,
            timeouts=Timeouts.within(timeout),
            options=_options(
                Pace(network_delay, provider_delay), in_flight, limit, per_provider, dry_run=dry_run
            ),
            ca_file=ca_file,
            ca_path=ca_path,
        )
        problems: list[str] = []
        names = _names(file, tenant, start, settings, problems)
        words = file or (f"deliveries of {tenant}" if tenant else "deliveries")
        with _bar(limit) as watch:
            progress, forecast = run_survey(settings, conduct, names(), words, watch)
        _tell(progress, forecast, problems, dry_run=dry_run)
        with contextlib.closing(open_survey(settings.local_state)) as store:
            _print(store, names, progress, as_csv=as_csv, as_json=as_json)
    if progress.stopped:
        raise typer.Exit(NO)


def _options(
    pace: Pace, in_flight: int, limit: int | None, per_provider: int, *, dry_run: bool
) -> Options:
    return Options(pace, in_flight, DAY_S, limit, per_provider or None, dry_run)


Names = Callable[[], Iterator[NextHop]]


def _names(
    file: str | None, tenant: str | None, since: float, settings: Settings, problems: list[str]
) -> Names:
    """Return what gives the names, from the beginning at each call."""
    if file is None:
        domains = _delivered(settings, tenant, since)
        return lambda: read_names(domains, [])
    if file == STANDARD_INPUT:
        lines = io.TextIOWrapper(sys.stdin.buffer, _ENCODING, errors="surrogateescape")
        kept = list(read_names(lines, problems))
        return lambda: iter(kept)
    path = Path(file)
    if path.is_file():
        return lambda: _read_file(path, problems)
    if not path.exists():
        raise GatepostError(
            f"{path}: no such file; for a single domain, echo it into gatepost tls survey -"
        )
    # A pipe, as of <(command), is read only once.
    piped = list(_read_file(path, problems))
    return lambda: iter(piped)


def _read_file(path: Path, problems: list[str]) -> Iterator[NextHop]:
    problems.clear()
    try:
        with path.open(encoding=_ENCODING, errors="surrogateescape") as lines:
            yield from read_names(lines, problems)
    except OSError as error:
        raise GatepostError(f"{path}: {error.strerror}") from error


def _delivered(settings: Settings, tenant: str | None, since: float) -> list[str]:
    with contextlib.closing(open_existing(open_deliveries, settings)) as store:
        found = store.tenant_domains(since, time.time(), tenant)
    weights: dict[str, int] = {}
    for each in found:
        counts = each.counts
        weights[each.domain] = weights.get(each.domain, 0) + counts.sent + counts.refused
    # The most mail first, for --limit.
    return sorted(filter(None, weights), key=lambda domain: (-weights[domain], domain))


def _name(ehlo: str | None, settings: Settings) -> str:
    text = ehlo
    if text is None:
        commands = PostfixCommands(settings.postfix_config_dir)
        try:
            text = commands.postconf("-h", "myhostname").stdout.strip()
        except GatepostError as error:
            raise GatepostError(
                f"Postfix does not tell its myhostname ({error}); name ours with --ehlo"
            ) from error
    try:
        return normalise_domain(text)
    except MalformedMessage as error:
        raise GatepostError(f"our name in EHLO: {error}; name another with --ehlo") from error


def _roots(settings: Settings) -> tuple[str | None, str | None]:
    """Return file and directory of the roots of Postfix, whose verdict is the one that counts."""
    commands = PostfixCommands(settings.postfix_config_dir)
    try:
        values = parse_settings(commands.postconf("-x", _CA_FILE, _CA_PATH).stdout)
    except GatepostError:
        return None, None
    file, directory = values.get(_CA_FILE) or None, values.get(_CA_PATH) or None
    system = ssl.get_default_verify_paths().openssl_capath
    if file is None and directory and os.path.realpath(directory) == os.path.realpath(system):
        # As in Debian's main.cf. Loaded as the system's, they are all at hand.
        return None, None
    return file, directory


def _sources(addresses: list[str]) -> tuple[str, ...]:
    versions: set[int] = set()
    for each in addresses:
        try:
            versions.add(ipaddress.ip_address(each).version)
        except ValueError:
            fail(f'--source takes an IP address, and not "{each}"')
    if len(versions) != len(addresses):
        fail("--source takes at most one IPv4 and one IPv6 address")
    return tuple(str(ipaddress.ip_address(each)) for each in addresses)


def _versions(sources: list[str], settings: Settings) -> frozenset[int]:
    """Return the IP versions of the addresses to come from, or else those that Postfix uses."""
    if sources:
        return frozenset(ipaddress.ip_address(each).version for each in sources)
    commands = PostfixCommands(settings.postfix_config_dir)
    try:
        text = commands.postconf("-hx", "inet_protocols").stdout
    except GatepostError:
        return BOTH_VERSIONS
    words = set(text.replace(",", " ").split())
    return frozenset(each for each in BOTH_VERSIONS if words & {"all", f"ipv{each}"})


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        fail(f'--also takes a network such as 10.0.0.0/8, and not "{text}"')


def _opt_out(path: Path | None, config: Path) -> OptOut:
    wanted = path or config.parent / OPT_OUT_FILE
    try:
        with wanted.open(encoding=_ENCODING, errors="surrogateescape") as lines:
            return parse_opt_out(lines)
    except FileNotFoundError:
        if path is None:
            return OptOut()
        raise GatepostError(f"{path}: no such file") from None
    except (OSError, MalformedMessage) as error:
        raise GatepostError(f"{wanted}: {error}") from error


@contextlib.contextmanager
def _bar(limit: int | None) -> Iterator[Callable[[Progress], None]]:
    """Show on a terminal how far it is, how fast, and how long it will take."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[words]}"), TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    hidden = not sys.stderr.isatty()
    with Bar(*columns, console=console, disable=hidden, transient=True) as bar:
        task = bar.add_task("servers", total=None, words="")
        begun = time.monotonic()

        def watch(progress: Progress) -> None:
            total = min(progress.targets - progress.recent, limit or progress.targets)
            rate = progress.probed / max(time.monotonic() - begun, 0.001)
            more = ", reading names" if progress.reading else ""
            words = f"{rate:.0f}/s, {progress.in_flight} at once{more}"
            bar.update(task, completed=progress.probed, total=max(total, 1), words=words)

        yield watch


def _tell(progress: Progress, forecast: Forecast, problems: list[str], *, dry_run: bool) -> None:
    """Say on standard error what was done."""
    say = _say
    known = f" ({progress.known} looked up today)" if progress.known else ""
    found = f"{number(progress.names, 'name')}{known}, "
    found += f"{number(progress.targets, 'server')} to visit"
    if dry_run:
        seconds, who = forecast.longest()
        say(f"{found}; at this pace at least {_duration(seconds)}{f' for {who}' if who else ''}")
    else:
        also = f", {progress.recent} left out as visited today" if progress.recent else ""
        say(f"{found}; {progress.probed} visited{also}")
    if progress.unwelcome:
        say(f"{number(progress.unwelcome, 'address')} opted out or not public: not visited")
    if progress.beyond:
        say(f"{number(progress.beyond, 'server')} left out: their provider has enough others")
    if progress.dane_off:
        say(f"TLSA records were not looked at: {progress.dane_off}")
    if progress.faults:
        say(f"{number(progress.faults, 'probe or look-up')} failed by a fault of ours: see the log")
    if progress.stopped:
        say("broken off; the same command goes on where this one was")
    for problem in problems[:_SHOWN_PROBLEMS]:
        say(f"not a name: {problem}")
    if len(problems) > _SHOWN_PROBLEMS:
        say(f"and {len(problems) - _SHOWN_PROBLEMS} more such lines")


def _say(text: str) -> None:
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(text)


def _duration(seconds: float) -> str:
    for size, word in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {word}"
    return f"{seconds:.0f} seconds"


def _print(
    store: SurveyStore, names: Names, progress: Progress, *, as_csv: bool, as_json: bool
) -> None:
    if cut_off := store.interrupted(time.time() - DAY_S):
        visits = number(cut_off, "visit")
        _say(f"{visits} cut off by the end of a run; made up for when their day is over")
    wanted = (f"[{each.domain}]" if each.bracketed else each.domain for each in names())
    rows = rows_of(found for name in _each_once(wanted) if (found := store.domain(name)))
    if as_json:
        verdicts = {verdict.value: count for verdict, count in progress.verdicts.items()}
        counts = {
            "names": progress.names,
            "targets": progress.targets,
            "probed": progress.probed,
            "recent": progress.recent,
            "unwelcome": progress.unwelcome,
            "beyond": progress.beyond,
            "faults": progress.faults,
            "stopped": progress.stopped,
            "dane_off": progress.dane_off,
            "verdicts": verdicts,
        }
        print_json({**counts, "servers": [row._asdict() for row in rows]})
    elif as_csv:
        print_csv(rows)
    else:
        print_table(rows)


def _each_once(names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name not in seen:
            seen.add(name)
            yield name
