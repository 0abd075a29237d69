"""Rules as a table for smtp_tls_policy_maps: what Gatepost's map would answer, without Gatepost.

Purpose: detaching loses no policy.
Source: postconf(5) smtp_tls_policy_maps; DATABASE_README, texthash and static; Postfix looks up a
next-hop with brackets or port only as it is.
Format: texthash, which postmap(1) compiles unchanged into hash, lmdb or cdb.
Errors: none.
Not handled: what destinations publish themselves, MTA-STS and TLSA records, which changes; a table
that has it would be wrong tomorrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gatepost.postfix_version import PostfixVersion
from gatepost.tls.answer import decide_tls
from gatepost.tls.levels import Level
from gatepost.tls.nexthop import nexthop_domain
from gatepost.tls.operator import ASKS_NOTHING, OperatorTls
from gatepost.tls.policy import format_policy
from gatepost.tls.rules import Profile, TlsRules

# A label that no rule names, to stand for any sub-domain.
_ANY_LABEL = "gatepost-any"


@dataclass(frozen=True, slots=True)
class Exported:
    """A table.

    Attributes:
        lines: Key and policy.
        problems: Destinations for which there is no policy, with the reason.
        default: Parameters of main.cf for every other destination.
    """

    lines: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]
    default: tuple[str, ...] = ()


def export_table(
    profile: Profile | None,
    rules: TlsRules,
    version: PostfixVersion,
    operator: OperatorTls = ASKS_NOTHING,
    next_hops: Iterable[str] = (),
    now: float = 0.0,
) -> Exported:
    """Return what the map answers for the destinations of the rules.

    Args:
        profile: The profile, or None for mail of no profile.
        rules: The TLS part of the snapshot.
        version: The Postfix that is to read the table.
        operator: What Postfix asks for itself, which a table replaces as a map does.
        next_hops: Further keys, such as ``[relay.example]:587``.
        now: Unix time in seconds, for rules that end; a table knows no end.
    """
    names = {*rules.everyone.table, *rules.promoted.table}
    if profile is not None:
        names |= {*profile.exceptions.table}
    lines: list[tuple[str, str]] = []
    problems: list[str] = []
    for key in _keys(names, next_hops):
        asked = f"{_ANY_LABEL}{key}" if key.startswith(".") else key
        answer = decide_tls(profile, asked, rules, operator, now=now)
        if answer.waits:
            problems.append(f"{key}: {answer.waits}")
        elif answer.requirement is not None:
            lines.append((key, format_policy(answer.requirement, version)))
    return Exported(tuple(lines), tuple(problems), tuple(_default(profile)))


def _default(profile: Profile | None) -> Iterator[str]:
    if profile is None or profile.base.level <= Level.MAY:
        return
    yield f"smtp_tls_security_level = {profile.base.level.keyword}"
    if profile.base.level is Level.VERIFY:
        yield "smtp_tls_verify_cert_match = hostname"
        yield "smtp_tls_servername = hostname"
    if profile.base.min_version is not None:
        yield f"smtp_tls_mandatory_protocols = >={profile.base.min_version.keyword}"


def format_table(exported: Exported, head: str) -> str:
    """Return the text of a table.

    Args:
        exported: What it holds.
        head: What it comes from, for the first comment.
    """
    return "\n".join(_text(exported, head)) + "\n"


def _text(exported: Exported, head: str) -> Iterator[str]:
    yield f"# {head}"
    yield "# A next-hop with a port, such as [relay.example]:587, needs an entry of its own."
    if exported.default:
        # Not a static table behind this one: Postfix asks all tables for the whole name before it
        # asks any of them for a parent, so entries with a leading dot would never be found.
        yield "# For every other destination, in main.cf (protocols also hold for entries without):"
        yield from (f"#   {line}" for line in exported.default)
    for problem in exported.problems:
        yield f"# no policy: {problem}"
    for key, policy in exported.lines:
        yield f"{key}\t{policy}"


def _keys(names: Iterable[str], next_hops: Iterable[str]) -> list[str]:
    keys: dict[str, None] = {}
    for name in sorted(names):
        keys[name] = None
        # Rules hold for a name in brackets as well; Postfix looks that up as another key.
        if not name.startswith("."):
            keys[f"[{name}]"] = None
    for each in next_hops:
        if nexthop_domain(each) is not None:
            keys[each.lower()] = None
    return list(keys)
