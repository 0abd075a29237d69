"""The file of promoted rules: from its settings to rules, and back to its text.

Format: YAML, see `keys_promoted`; days are in UTC, and the last day counts whole.
Errors: problems of a file go to the report.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping

from gatepost.settings.keys_promoted import MAX_EVIDENCE, PromotedFile
from gatepost.settings.problems import Place, Report
from gatepost.tls.levels import Requirement
from gatepost.tls.promoted import PromotedRule, PromotedRules

_DAY = dt.timedelta(days=1)
_HEADER = """\
# TLS rules that evidence has earned, written by gatepost tls promote --apply.
# Edit it as you like: take rules out, or change level, expires and downgrade; comments are not
# kept. gatepost check looks at it, gatepost reload puts it into force.
"""


def build_promoted(section: PromotedFile, file: str, report: Report) -> PromotedRules:
    """Return the rules of a file; expired ones too, as only the time of a decision tells."""
    rules: dict[str, PromotedRule] = {}
    for domain, each in section.promoted.items():
        if each.level is None or each.since is None or each.expires is None:
            # It is reported already.
            continue
        if each.expires < each.since:
            report.error(
                Place(file, ("promoted", domain, "expires")),
                f"{each.expires} is before {each.since}, when the rule was made",
                "set a later day, or take the rule out",
            )
        rules[domain] = PromotedRule(
            Requirement(each.level),
            _start(each.since),
            _start(each.expires) + _DAY.total_seconds(),
            each.downgrade,
            None if each.dropped is None else _start(each.dropped),
            each.evidence or "",
        )
    return PromotedRules(rules, configured=True)


def format_promoted(rules: Mapping[str, PromotedRule]) -> str:
    """Return the text of a file."""
    lines = [_HEADER + ("promoted:" if rules else "promoted: {}")]
    for domain, rule in sorted(rules.items()):
        name = f'"{domain}"' if domain == "null" else domain
        lines += [
            f"  {name}:",
            f"    level: {rule.requirement.level.keyword}",
            f"    since: {day_of(rule.since)}",
            f"    expires: {day_of(rule.expires - 1)}",
            f"    downgrade: {rule.downgrade}",
        ]
        if rule.dropped is not None:
            lines.append(f"    dropped: {day_of(rule.dropped)}")
        if rule.evidence:
            # JSON's form of a text is one of YAML's.
            text = json.dumps(rule.evidence[:MAX_EVIDENCE], ensure_ascii=False)
            lines.append(f"    evidence: {text}")
    return "\n".join(lines) + "\n"


def day_of(at: float) -> str:
    """Return the day in UTC of a Unix time, as YYYY-MM-DD."""
    return dt.datetime.fromtimestamp(at, dt.UTC).date().isoformat()


def _start(day: str) -> float:
    return dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC).timestamp()
