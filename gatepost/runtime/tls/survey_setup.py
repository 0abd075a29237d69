"""Put a survey together from the settings and run it to its end, or to a signal.

Purpose: resolver, roots, prober, store and scheduler in one call.
Format: the lock is ``survey.lock`` beside the database: two surveys at once would each keep to the
pace, and together not.
Limits: the process takes as many file descriptors as it may (RLIMIT_NOFILE).
Errors: `run_survey` raises `GatepostError`; see the modules that it joins.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import ssl
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gatepost.errors import GatepostError, StartError
from gatepost.maillog.provider import provider_of
from gatepost.runtime.lock import RoleLock
from gatepost.runtime.loop import run_in_uvloop
from gatepost.runtime.tls.survey import LOOKUPS, Options, Progress, Survey
from gatepost.runtime.tls.survey_names import Names, Network, check_name, own_addresses
from gatepost.settings import Settings
from gatepost.store.open import open_survey, sqlite_path
from gatepost.tls.fetch import Fetcher
from gatepost.tls.nexthop import DEFAULT_PORT, NextHop, parse_nexthop
from gatepost.tls.resolver import Resolver
from gatepost.tls.survey.optout import OptOut
from gatepost.tls.survey.pacing import Forecast
from gatepost.tls.survey.probe import BOTH_VERSIONS, Prober, Timeouts
from gatepost.tls.survey.trust import Trust

_MAX_PROBLEMS = 1_000
# Beside the probes: DNS queries and policy fetches, the database, standard streams.
_OTHER_FILES = 4 * LOOKUPS


@dataclass(frozen=True, slots=True)
class Conduct:
    """How the survey behaves towards strangers.

    Attributes:
        ehlo: What it calls itself, a normalised host name.
        check_ehlo: Whether PTR and address have to vouch for that name.
        sources: Addresses to connect from, at most one of each version; the kernel's choice if
            none.
        versions: IP versions to connect over.
        opt_out: Whom it leaves alone.
        also: Networks that it probes though they are not public.
        sts: Whether to fetch MTA-STS policies.
        timeouts: Of a probe.
        options: Pace and numbers.
        ca_file: Trusted roots for mail servers, best those of Postfix.
        ca_path: A directory of them; the system's roots where both are None.
    """

    ehlo: str
    check_ehlo: bool = True
    sources: tuple[str, ...] = ()
    versions: frozenset[int] = BOTH_VERSIONS
    opt_out: OptOut = field(default_factory=OptOut)
    also: tuple[Network, ...] = ()
    sts: bool = True
    timeouts: Timeouts = field(default_factory=Timeouts)
    options: Options = field(default_factory=Options)
    ca_file: str | None = None
    ca_path: str | None = None


def run_survey(
    settings: Settings,
    conduct: Conduct,
    names: Iterable[NextHop],
    source: str,
    watch: Callable[[Progress], None] = lambda _: None,
) -> tuple[Progress, Forecast]:
    """Survey names; the first signal to end lets the probes that go on end.

    Args:
        settings: Where the store is, and whom to ask.
        conduct: How to behave.
        names: Domains and hosts.
        source: Where they come from, for people.
        watch: Is shown the progress now and then.

    Raises:
        GatepostError: If it cannot be done here; says what to do.
    """
    _raise_file_limit(conduct.options.in_flight)
    spare_collector()
    with _lock(settings):
        return run_in_uvloop(_run(settings, conduct, names, source, watch))


async def _run(
    settings: Settings,
    conduct: Conduct,
    names: Iterable[NextHop],
    source: str,
    watch: Callable[[Progress], None],
) -> tuple[Progress, Forecast]:
    resolver = Resolver(settings.dns_servers)
    test = await resolver.self_test(settings.dns_signed, settings.dns_bogus)
    if not test.answered:
        # Or every name would be written down as one that cannot be looked up today.
        raise GatepostError(f"no name server answers: {test.reason}")
    if conduct.check_ehlo:
        own = own_addresses(conduct.sources, conduct.also, conduct.versions)
        await check_name(resolver, conduct.ehlo, own)
    try:
        trust = Trust(conduct.ca_file, conduct.ca_path)
    except (OSError, ssl.SSLError) as error:
        raise StartError(
            f"the trusted roots in {conduct.ca_file} cannot be read: {error}"
        ) from error
    try:
        fetcher = Fetcher(resolver, ca_file=settings.https_ca_file)
    except (OSError, ssl.SSLError) as error:
        raise StartError(
            f"dns.https_ca_file {settings.https_ca_file} cannot be read: {error}"
        ) from error
    survey = Survey(
        lambda: open_survey(settings.local_state),
        Names(resolver, fetcher if conduct.sts else None, conduct.opt_out, also=conduct.also),
        Prober(
            conduct.ehlo,
            trust,
            sources=conduct.sources,
            versions=conduct.versions,
            timeouts=conduct.timeouts,
        ),
        provider_of,
        conduct.options,
    )
    survey.progress.dane_off = test.reason
    try:
        with _stopping(survey, asyncio.current_task()):
            showing = asyncio.create_task(_show(survey, watch))
            try:
                progress = await survey.run(names, source)
            finally:
                showing.cancel()
        watch(progress)
    finally:
        await fetcher.close()
    return progress, survey.forecast


async def _show(survey: Survey, watch: Callable[[Progress], None]) -> None:
    while True:
        watch(survey.progress)
        await asyncio.sleep(0.25)


@contextlib.contextmanager
def _stopping(survey: Survey, task: asyncio.Task[object] | None) -> Iterator[None]:
    """Have the first signal stop the survey in order, and the second at once."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def end() -> None:
        if survey.progress.stopped and task is not None:
            task.cancel()
        survey.stop()

    for number in numbers:
        loop.add_signal_handler(number, end)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _lock(settings: Settings) -> Iterator[None]:
    path = sqlite_path(settings.local_state)
    assert path is not None
    lock = RoleLock(Path(path).parent / "survey.lock")
    try:
        yield
    finally:
        lock.release()


def spare_collector() -> None:
    """Have Python look for garbage less often: a probe leaves none that only a search could find.

    With thousands of connections alive, each search goes through all of them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _raise_file_limit(in_flight: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most != resource.RLIM_INFINITY and most < in_flight + _OTHER_FILES:
        raise GatepostError(
            f"this process may open {most} files, too few for {in_flight} probes at once; "
            f"raise the limit (ulimit -Hn) to {in_flight + _OTHER_FILES}, or lower --in-flight"
        )


def read_names(lines: Iterable[str], problems: list[str]) -> Iterator[NextHop]:
    """Yield the domains and hosts in lines, as they are asked for.

    Args:
        lines: A domain, ``[host]`` or mail address on each; ``#`` begins a comment.
        problems: Gets the lines that are none of these, at most 1,000.
    """
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip().rpartition("@")[2]
        if not text:
            continue
        found = _parse(text)
        if found is not None:
            yield found
        elif len(problems) < _MAX_PROBLEMS:
            problems.append(f"line {number}: {text[:60]!a}")


def _parse(text: str) -> NextHop | None:
    found = parse_nexthop(text)
    # Only port 25 is probed, as only there mail comes in from everybody.
    return found if found is not None and found.port == DEFAULT_PORT else None
