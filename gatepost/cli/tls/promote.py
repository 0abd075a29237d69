"""``gatepost tls promote``: from what was seen of destinations to rules for them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    NO,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    fail,
    print_json,
)
from gatepost.cli.percent import percent
from gatepost.cli.stores import open_existing
from gatepost.runtime.log import clean
from gatepost.runtime.tls.promotion import findings
from gatepost.settings import Loader, Settings
from gatepost.settings.install import CONFIG_MODE, write_over
from gatepost.settings.promoted import day_of, format_promoted
from gatepost.store.open import open_deliveries, open_survey
from gatepost.tls.history import DAY_S, Criteria, Finding, own_word, written
from gatepost.tls.levels import Level
from gatepost.tls.promoted import Downgrade, PromotedRule
from gatepost.tls.rules import TlsRules

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class _File:
    path: Path | None
    before: bytes | None
    rules: Mapping[str, PromotedRule]


def command(
    *,
    days: Annotated[
        int, typer.Option(min=1, max=400, metavar="N", help="How far back evidence is looked at.")
    ] = 30,
    traffic_over: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Only destinations with more deliveries than this."),
    ] = 0,
    streak: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Probes in a row with TLS, at each address at least."
        ),
    ] = 3,
    age: Annotated[
        int, typer.Option(min=0, metavar="DAYS", help="How long that must have gone on.")
    ] = 7,
    lifetime: Annotated[
        int, typer.Option(min=1, max=400, metavar="DAYS", help="How long a rule holds by itself.")
    ] = 60,
    verify: Annotated[
        bool, typer.Option("--verify", help="Raise to verify, not to encrypt.")
    ] = False,
    downgrade: Annotated[
        Downgrade, typer.Option(help="What new rules say of destinations that drop TLS.")
    ] = Downgrade.DEFER,
    apply: Annotated[
        bool, typer.Option("--apply", help="Write the rules; without it, nothing is written.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Turn evidence into rules: raise destinations that always offered TLS to encrypt.

    A destination is raised if in the last --days: all mail to it went out over TLS, by the log, and
    none is unknown; the survey probed it, and every mail exchanger that could be reached offered
    TLS in every probe, --streak times in a row at least, for --age days or more, and lately; and
    the mail went to these very hosts. With --verify, every certificate was valid as well. What
    tls.domains or a profile says of a destination is not overruled.

    Rules are for everyone and for the domain itself, are joined to all others, and end after
    --lifetime days unless this command finds new evidence: run it once a day. They are written into
    the file that tls.promoted names, which you may read, compare and edit; gatepost reload puts it
    into force. A dry run, without --apply, needs no such file.

    A destination that no longer offers what its rule asks for is told, and by doctor and in the
    log as well. With downgrade: defer its mail waits until you take out the rule or TLS comes back;
    with downgrade: alert, this command with --apply gives the rule up.

    Exit status: 0 fine; 1 a destination with a rule has dropped TLS; 2 usage or configuration
    error, or nothing was recorded yet.

    Example: gatepost tls promote --days 30 --traffic-over 100
    """
    now = time.time()
    criteria = Criteria(
        Level.VERIFY if verify else Level.ENCRYPT,
        days * DAY_S,
        traffic_over,
        streak,
        age * DAY_S,
        lifetime_s=lifetime * DAY_S,
        downgrade=downgrade,
    )
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load(promoted=False)
        file = _file(config)
        if apply and file.path is None:
            fail(f"set tls.promoted in {config} to the file to write, such as promoted.yaml")
        found = _found(loaded.settings, file.rules, criteria, now)
        found = {
            domain: _with_words(each, loaded.snapshot.tls, criteria, now)
            for domain, each in found.items()
        }
        changed = _write(file, written(found, now), apply=apply)
    if as_json:
        print_json(_document(found, file, now, changed=changed, applied=apply))
    else:
        for line in _text(found.values(), criteria, now):
            print(clean(line))
        print(clean(_last_line(file, apply=apply, changed=changed)))
    if any(each.lost for each in found.values()):
        raise typer.Exit(NO)


def _file(config: Path) -> _File:
    named = Loader(config).promoted()
    if named is None:
        return _File(None, None, {})
    path, rules = named
    return _File(path, path.read_bytes() if path.exists() else None, rules.table)


def _found(
    settings: Settings, rules: Mapping[str, PromotedRule], criteria: Criteria, now: float
) -> dict[str, Finding]:
    with (
        closing(open_existing(open_deliveries, settings)) as deliveries,
        closing(open_existing(open_survey, settings)) as survey,
        _progress() as tick,
    ):
        return findings(deliveries, survey, rules, criteria, now, tick)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    quiet = not sys.stderr.isatty()
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=quiet, transient=True) as progress:
        task = progress.add_task("destinations")
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _with_words(finding: Finding, rules: TlsRules, criteria: Criteria, now: float) -> Finding:
    """Take back a new rule where the configuration has a word of its own."""
    if finding.before is not None or finding.rule is None:
        return finding
    word = own_word(finding.domain, rules, criteria.level, now)
    return replace(finding, rule=None, why=word) if word else finding


def _write(file: _File, rules: Mapping[str, PromotedRule], *, apply: bool) -> bool:
    """Write the file if need be; tell whether it differs from what there is."""
    text = format_promoted(rules)
    changed = dict(rules) != dict(file.rules) or file.before is None
    if apply and changed and file.path is not None:
        write_over(file.path, text, CONFIG_MODE, file.before)
    return changed


def _text(found: Iterable[Finding], criteria: Criteria, now: float) -> Iterator[str]:
    found = sorted(found, key=lambda each: (-each.deliveries.sent, each.domain))
    total = sum(each.deliveries.sent for each in found)
    groups = {name: [each for each in found if _kind(each, now) == name] for name in _TITLES}
    days = f"{criteria.period_s / DAY_S:g} days"
    for name, title in _TITLES.items():
        group = groups[name]
        if not group:
            continue
        sent = sum(each.deliveries.sent for each in group)
        share = f" ({percent(sent, total)})" if total else ""
        yield (
            f"{title}: {len(group)} destination{'s' if len(group) > 1 else ''}, {sent:,} of "
            f"{total:,} deliveries{share} in {days}"
        )
        shown = group[:_SHOWN] if name == "left" else group
        yield from (f"    {_line(each)}" for each in shown)
        if len(shown) < len(group):
            yield f"    and {len(group) - len(shown)} more, which --json shows"
    if not found:
        yield f"no deliveries in {days}, and no rules"


# In the order in which an administrator should read them.
_TITLES = {
    "lost": "no longer offers what its rule asks for",
    "new": "to be raised",
    "kept": "rule goes on",
    "waning": "rule holds until it ends, for want of new evidence",
    "ended": "rule has ended",
    "left": "not raised",
}


def _kind(finding: Finding, now: float) -> str:
    if finding.lost:
        return "lost"
    if finding.rule is None:
        return "left"
    if now >= finding.rule.expires:
        return "ended"
    if finding.before is None or not finding.before.in_force(now):
        return "new"
    return "waning" if finding.rule == finding.before else "kept"


def _line(finding: Finding) -> str:
    rule = finding.rule
    if rule is None:
        return f"{finding.domain}: {finding.why}"
    until = day_of(rule.expires - 1)
    fate = f", downgrade: {rule.downgrade}" if finding.lost else ""
    return f"{finding.domain}: {rule.requirement.level.keyword} until {until}{fate}: {finding.why}"


def _last_line(file: _File, *, apply: bool, changed: bool) -> str:
    if file.path is None:
        return "dry run; to write rules, set tls.promoted and use --apply"
    if not changed:
        return f"{file.path} stays as it is"
    if apply:
        return f"wrote {file.path}; next: gatepost reload"
    return f"dry run; --apply writes {file.path}"


def _document(
    found: Mapping[str, Finding],
    file: _File,
    now: float,
    *,
    changed: bool,
    applied: bool,
) -> dict[str, Any]:
    return {
        "ok": not any(each.lost for each in found.values()),
        "file": file.path,
        "changed": changed,
        "written": applied and changed,
        "destinations": [
            {
                "domain": each.domain,
                "kind": _kind(each, now),
                "why": each.why,
                "deliveries": each.deliveries.sent,
                "plaintext": each.deliveries.plaintext,
                "unknown": each.deliveries.unknown,
                "refused": each.deliveries.refused,
                "rule": None if each.rule is None else _rule(each.rule),
            }
            for each in found.values()
        ],
    }


def _rule(rule: PromotedRule) -> dict[str, Any]:
    return {
        "level": rule.requirement.level.keyword,
        "since": day_of(rule.since),
        "expires": day_of(rule.expires - 1),
        "downgrade": rule.downgrade,
        "dropped": None if rule.dropped is None else day_of(rule.dropped),
        "evidence": rule.evidence,
    }
