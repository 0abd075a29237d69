"""``gatepost tls import`` and ``tls export``: between Postfix's own policy tables and rules."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    NO,
    USAGE,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    fail,
    number,
    print_json,
)
from gatepost.cli.new_file import new_file
from gatepost.errors import PostfixUnavailable
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.policy_tables import Table, read_main_cf, read_table
from gatepost.postfix_version import OLDEST_SUPPORTED, PostfixVersion
from gatepost.runtime.installation import ask_postfix
from gatepost.runtime.log import clean
from gatepost.settings import Loaded, Loader
from gatepost.tls.operator import ASKS_NOTHING, OperatorTls
from gatepost.tls.rules import Profile
from gatepost.tls.tables.compare import Difference, compare
from gatepost.tls.tables.export import Exported, export_table, format_table
from gatepost.tls.tables.rules import Taken
from gatepost.tls.tables.yaml_text import format_rule, format_yaml

_OUTPUT_MODE = 0o644

OutputOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write there and not to standard output; no file yet."),
]


def import_table(
    table: Annotated[
        str | None,
        typer.Argument(
            metavar="TABLE",
            help="A file with the source of a table, or type:file as in main.cf; without it, all "
            "that main.cf names.",
        ),
    ] = None,
    *,
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Print rules for this profile, not for everyone."),
    ] = None,
    output: OutputOption = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Print no rules; compare the table with the configuration."),
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Read a table of smtp_tls_policy_maps into rules, and tell what no rule can say.

    Without TABLE, reads the tables that smtp_tls_policy_maps in main.cf names, but for Gatepost's.

    Prints a block for the configuration: below each entry of the table, with file and line, stands
    the rule that it is. Rules go into tls.domains, or with --profile into a profile. Nothing is
    changed: look at the block, and put it into the configuration yourself.

    Each entry becomes a rule, or a rule and a sentence about what the rule does not say, or it is
    listed as not taken over, with the reason and with what to do. Never is a rule weaker than its
    entry. Entries that stay in the table are asked wherever Gatepost has no answer.

    Of hash, btree, lmdb and cdb tables, what postmap -s lists is taken, as that is in force, and a
    source that says otherwise is told. Of texthash, regexp, pcre and cidr the file is read; inline
    and static work as well. The entries of SQL, LDAP, tcp and socketmap tables cannot be listed.

    With --check, the entries are compared with what Gatepost answers by the configuration: without
    --profile on the map tls, with it on the profile's.

    Exit status: 0 rules say all that the table says, or with --check, the configuration does; 1
    something is left or lost, which is told; 2 the table cannot be read, or a usage error.

    Example: gatepost tls import hash:/etc/postfix/tls_policy --output tls-rules.yaml
    """
    with errors_to_exit(as_json=as_json):
        settings = Loader(config).settings()
        postfix = PostfixCommands(settings.postfix_config_dir)
        if table is None:
            table, found = read_main_cf(postfix, settings.socket_dir)
        else:
            found = read_table(table, postfix)
        if check:
            differences = _differences(found, Loader(config).load(), profile)
            complete = _print_check(found, differences, as_json=as_json)
        else:
            complete = found.imported.complete and (
                profile is not None or found.imported.everything is None
            )
            head = f"From {table}, {_entries(found.entries)}."
            text = format_yaml(found.imported, head, profile)
            _deliver(text, output, {"yaml": text, **_document(found)}, as_json=as_json)
            _print_summary(found)
    if not complete:
        raise typer.Exit(NO)


def export(
    *,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="What mail of this profile gets, not what everyone gets."
        ),
    ] = None,
    next_hop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NEXTHOP", help="A further key, such as [relay.example]:587; repeat for more."
        ),
    ] = None,
    output: OutputOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Write a table for smtp_tls_policy_maps that answers as Gatepost's map does by its rules.

    For the time without Gatepost: detach, put the table into smtp_tls_policy_maps, and no rule is
    lost. The text is that of a texthash table; postmap compiles it into hash, lmdb or cdb. It has
    an entry for each destination of the rules, with and without brackets, and one for relayhost.
    A comment says what to set in main.cf for all other destinations, where a profile asks for TLS
    everywhere.

    Left out are MTA-STS policies and TLSA records, which destinations change, and the difference
    between tenants: Postfix alone looks up a policy by destination only.

    Exit status: 0 fine; 1 for some destination there is no policy, which a comment tells; 2 usage
    or configuration error.

    Example: gatepost tls export --profile private --output /etc/postfix/tls_policy
    """
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        version, operator, relay = _postfix(loaded)
        exported = export_table(
            _profile(loaded, profile),
            loaded.snapshot.tls,
            version,
            operator,
            [*relay, *(next_hop or ())],
            time.time(),
        )
        text = format_table(exported, _export_head(profile, version, exported))
        _deliver(text, output, {"table": text, **asdict(exported)}, as_json=as_json)
    for problem in exported.problems:
        print(f"gatepost: no policy for {clean(problem)}", file=sys.stderr)
    if exported.problems:
        raise typer.Exit(NO)


def _differences(found: Table, loaded: Loaded, profile: str | None) -> list[Difference]:
    _, operator, _ = _postfix(loaded)
    rules = loaded.snapshot.tls
    return compare(found.imported, _profile(loaded, profile), rules, operator, time.time())


def _profile(loaded: Loaded, name: str | None) -> Profile | None:
    if name is None:
        return None
    profiles = loaded.snapshot.tls.profiles
    return profiles.get(name) or fail(
        f"there is no profile {name}; there are {', '.join(sorted(profiles))}"
    )


def _postfix(loaded: Loaded) -> tuple[PostfixVersion, OperatorTls, list[str]]:
    """Return version and TLS level of Postfix, and its relayhost; without Postfix, defaults."""
    directory = loaded.settings.postfix_config_dir
    try:
        instance = ask_postfix(loaded.settings)
        relay = PostfixCommands(directory).postconf("-hx", "relayhost").stdout.strip()
    except PostfixUnavailable as error:
        print(f"gatepost: {error}; going by Postfix {OLDEST_SUPPORTED}", file=sys.stderr)
        return OLDEST_SUPPORTED, ASKS_NOTHING, []
    return instance.version, instance.operator, relay.replace(",", " ").split()


def _export_head(profile: str | None, version: PostfixVersion, exported: Exported) -> str:
    whose = "mail of no profile" if profile is None else f"profile {profile}"
    count = number(len(exported.lines), "key")
    return f"Gatepost's TLS rules for {whose}, {count}, for Postfix {version}."


def _deliver(text: str, output: Path | None, document: dict[str, Any], *, as_json: bool) -> None:
    if output is not None:
        _write(text, output)
    if as_json:
        print_json(document)
    elif output is None:
        sys.stdout.write(text)


def _write(text: str, output: Path) -> None:
    try:
        with new_file(output, _OUTPUT_MODE) as file:
            file.write(text)
    except OSError as error:
        fail(f"{output}: {error.strerror}", USAGE)


def _document(found: Table) -> dict[str, Any]:
    imported = found.imported
    return {
        "complete": imported.complete,
        "rules": [_rule(each) for each in imported.taken],
        "everything": None if imported.everything is None else _rule(imported.everything),
        "left": [
            {"where": each.entry.where, "key": each.entry.key, "policy": each.entry.value}
            | {"why": each.why}
            for each in imported.left
        ],
        "notices": list(found.notices),
    }


def _entries(count: int) -> str:
    return "one entry" if count == 1 else f"{count} entries"


def _rule(rule: Taken) -> dict[str, Any]:
    requirement = rule.requirement
    return {
        "domain": rule.domain,
        "level": requirement.level.keyword,
        "min_version": requirement.min_version and requirement.min_version.keyword,
        "match": None if requirement.match is None else sorted(requirement.match),
        "from": [entry.where for entry in rule.entries],
        "losses": list(rule.losses),
    }


def _print_summary(found: Table) -> None:
    imported = found.imported
    lossy = sum(bool(rule.losses) for rule in imported.taken)
    rules = number(len(imported.taken), "rule")
    print(
        f"gatepost: {rules}, {lossy} of them with something that a rule does not say; "
        f"{len(imported.left)} not taken over",
        file=sys.stderr,
    )
    for notice in found.notices:
        print(f"gatepost: {clean(notice)}", file=sys.stderr)


def _print_check(found: Table, differences: list[Difference], *, as_json: bool) -> bool:
    fine = not differences and not found.imported.left
    if as_json:
        print_json(
            {
                "ok": fine,
                "differences": [
                    {"domain": each.rule.domain, "problem": each.problem, **_rule(each.rule)}
                    for each in differences
                ],
                **_document(found),
            }
        )
        return fine
    for each in differences:
        where = ", ".join(entry.where for entry in each.rule.entries)
        print(f"{clean(where)}: {each.rule.domain}: {each.problem}")
        if each.rule.domain:
            print(f"    add {each.rule.domain}: {format_rule(each.rule.requirement)}")
    for left in found.imported.left:
        print(clean(f"{left.entry.where}: {left.entry.key}: not compared: {left.why}"))
    for notice in found.notices:
        print(f"gatepost: {clean(notice)}", file=sys.stderr)
    if fine:
        print("the configuration asks for as much as the table, everywhere")
    return fine
