"""Whether the configuration asks for as much as a table of the operator's.

Errors: none.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatepost.tls.answer import decide_tls
from gatepost.tls.levels import Level, Requirement
from gatepost.tls.operator import ASKS_NOTHING, OperatorTls
from gatepost.tls.rules import Profile, TlsRules
from gatepost.tls.tables.rules import Imported, Taken

# A label that no rule names, to stand for any sub-domain.
_ANY_LABEL = "gatepost-any"
_ELSEWHERE = "gatepost-any.invalid"


@dataclass(frozen=True, slots=True)
class Difference:
    """A rule of a table that the configuration does not keep.

    Attributes:
        rule: What the table asks for.
        problem: What the configuration does, without a full stop.
    """

    rule: Taken
    problem: str


def compare(
    imported: Imported,
    profile: Profile | None,
    rules: TlsRules,
    operator: OperatorTls = ASKS_NOTHING,
    now: float = 0.0,
) -> list[Difference]:
    """Return the rules of a table for which the configuration asks for less, or for nothing.

    Args:
        imported: The table.
        profile: The profile to compare with, or None for the rules for everyone.
        rules: The TLS part of the snapshot.
        operator: What Postfix asks for itself.
        now: Unix time in seconds, for rules that end.
    """
    found = []
    wanted = list(imported.taken)
    if imported.everything is not None:
        wanted.append(imported.everything)
    for rule in wanted:
        name = rule.domain or _ELSEWHERE
        asked = f"{_ANY_LABEL}{name}" if name.startswith(".") else name
        answer = decide_tls(profile, asked, rules, operator, now=now)
        problem = answer.waits or _problem(rule.requirement, answer.requirement)
        if problem:
            found.append(Difference(rule, problem))
    return found


def _problem(wanted: Requirement, answered: Requirement | None) -> str:
    if answered is None:
        if wanted == Requirement(Level.MAY):
            return ""
        return f"the table asks for {wanted.level.keyword}, and the configuration for nothing"
    if answered.level < wanted.level:
        return (
            f"the table asks for {wanted.level.keyword}, and the configuration for "
            f"{answered.level.keyword}"
        )
    if answered.join(wanted) != answered:
        return "the configuration accepts older protocol versions, or other certificate names"
    if answered.level > wanted.level and wanted.level <= Level.MAY:
        return (
            f"the table makes an exception, {wanted.level.keyword}, and the configuration asks for "
            f"{answered.level.keyword}"
        )
    return ""
