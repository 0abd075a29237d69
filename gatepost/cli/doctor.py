"""``gatepost doctor``: find what would break Gatepost on this Postfix."""

from __future__ import annotations

import os
import textwrap
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    NO,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    print_json,
)
from gatepost.cli.remedies import with_config
from gatepost.errors import ConfigErrors
from gatepost.postfix.doctor.counters import counters_findings
from gatepost.postfix.doctor.findings import Finding, Severity, problem
from gatepost.postfix.doctor.probe import Probe
from gatepost.postfix.doctor.run import Side, examine
from gatepost.postfix.doctor.scene import look
from gatepost.postfix.doctor.state import state_findings
from gatepost.runtime.tls.promoted_findings import promoted_findings
from gatepost.settings import Loader
from gatepost.snapshot import Snapshot
from gatepost.store.open import directory_of, is_postgres

PASSWORD = "GATEPOST_PROBE_PASSWORD"  # noqa: S105 - the name of a variable, not a password

_WIDTH = 98


def command(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    postfix_config: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Configuration directory of the Postfix instance; "
            "without it, postfix.config_dir of the configuration.",
        ),
    ] = None,
    probe: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Send a real message there and look at what leaves."),
    ] = None,
    probe_from: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Sender of the probe, such as a tenant's.")
    ] = "",
    probe_server: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT", help="Listener for the probe; else port 25 of this host."
        ),
    ] = "",
    probe_login: Annotated[
        str,
        typer.Option(
            metavar="LOGIN",
            help="Log in for the probe; the password is asked for, "
            f"or taken from the environment variable {PASSWORD}.",
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Look for what would break Gatepost on this Postfix, and tell the command that mends it.

    Looks at main.cf and master.cf as Postfix reads them, sockets and permissions, the resolver,
    the log and its rate limits, and faults of certain Postfix versions. Changes nothing. Run it as
    root: only root can try whether Postfix's own account may connect.

    With --probe it also sends one message, and shows from the queue file whether the milter was in
    the way, whether DKIM signatures cover Feedback-ID and List-Unsubscribe, and whether both the
    From: domain and platform.feedback_domain have signed the CFBL headers; if not, it prints the
    lines for OpenDKIM and rspamd that make it so. Send it as a tenant, with --probe-login.

    Exit status: 0 no problem, perhaps warnings; 1 problems; 2 it could not look.

    Example: gatepost doctor --probe me@example.org --probe-from news@acme.example --probe-server
    127.0.0.1:587 --probe-login acme
    """
    with errors_to_exit(as_json=as_json):
        snapshot, mistakes = _snapshot(config)
        settings = Loader(config).settings()
        scene = look(
            postfix_config or settings.postfix_config_dir,
            snapshot,
            settings.socket_dir,
            (settings.dns_signed, settings.dns_bogus),
        )
        wanted = None
        if probe is not None:
            wanted = Probe(probe, probe_from, probe_server, probe_login, _password(probe_login))
        sides = [Side("configuration", mistakes), *examine(scene, wanted)]
        if snapshot is not None and snapshot.tls.promoted.configured:
            told = promoted_findings(settings, snapshot.tls.promoted, time.time())
            sides.append(Side("promoted rules", tuple(told)))
        if is_postgres(settings.state):
            key_dir = directory_of(settings.local_state)
            sides.append(Side("state", tuple(state_findings(settings.state, key_dir))))
        if settings.counters is not None:
            sides.append(Side("counters", tuple(counters_findings(settings.counters))))
    found = [finding for side in sides for finding in side.findings]
    counts = Counter(finding.severity for finding in found)
    problems = counts[Severity.PROBLEM]
    if as_json:
        print_json({"ok": not problems, "sides": [asdict(side) for side in sides]})
    else:
        for line in _text(sides, counts):
            print(with_config(line, config, postfix_config))
    if problems:
        raise typer.Exit(NO)


def _snapshot(config: Path) -> tuple[Snapshot | None, tuple[Finding, ...]]:
    try:
        return Loader(config).load().snapshot, ()
    except ConfigErrors as errors:
        finding = problem(
            f"The configuration has {len(errors.errors)} mistake(s); the first: "
            f"{errors.errors[0]}.",
            "Gatepost does not start with it, and much could not be looked at.",
            "gatepost check",
        )
        return None, (finding,)


def _password(login: str) -> str:
    if not login:
        return ""
    return os.environ.get(PASSWORD) or typer.prompt(f"Password of {login}", hide_input=True)


def _text(sides: list[Side], counts: Mapping[Severity, int]) -> Iterator[str]:
    for side in sides:
        for finding in side.findings:
            head = f"{finding.severity.upper()} ({side.name}) "
            yield from _wrapped(head + finding.what, "")
            yield from _wrapped(finding.why, "    ")
            for each in finding.mend:
                yield f"    -> {each}"
            yield ""
    for side in sides:
        if side.skipped:
            yield f"Not looked at: {side.name}, since {side.skipped}."
    fine = [side.name for side in sides if not (side.findings or side.skipped)]
    if fine:
        yield f"Nothing to say about: {', '.join(fine)}."
    shown = [_count(counts[each], each.value) for each in (Severity.PROBLEM, Severity.WARNING)]
    if notes := counts[Severity.NOTE]:
        shown.append(_count(notes, Severity.NOTE.value))
    yield f"{', '.join(shown)}."
    if any(counts.values()):
        yield "After a change of main.cf or master.cf: postfix reload"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent="    ",
        break_on_hyphens=False,
        break_long_words=False,
    )
