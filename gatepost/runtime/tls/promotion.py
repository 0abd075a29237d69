"""The evidence for promoted rules, brought together from the stores.

Purpose: ``gatepost tls promote``, ``gatepost doctor`` and the back process judge the same evidence.
Errors: `findings` raises `StoreUnavailable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby

from gatepost.maillog.evidence import DeliveryEvidence, Destination
from gatepost.maillog.model import TlsClass
from gatepost.tls.history import NO_DELIVERIES, Criteria, Deliveries, Finding, judge
from gatepost.tls.promoted import PromotedRule
from gatepost.tls.survey.knowledge import SurveyKnowledge

_GOOD = (TlsClass.AUTHENTICATED, TlsClass.ENCRYPTED)
_BAD = (TlsClass.PLAINTEXT, TlsClass.REFUSED)


def findings(
    deliveries: DeliveryEvidence,
    survey: SurveyKnowledge,
    rules: Mapping[str, PromotedRule],
    criteria: Criteria,
    now: float,
    tick: Callable[[int, int], None] | None = None,
) -> dict[str, Finding]:
    """Return what is made of each destination that had mail in the period, or that has a rule.

    Args:
        deliveries: What the log told.
        survey: What the survey found.
        rules: The rules that there are.
        criteria: What it takes.
        now: Unix time in seconds.
        tick: Told how many of how many destinations are done.

    Raises:
        StoreUnavailable: If a store cannot be read.
    """
    seen = by_domain(deliveries.destinations(now - criteria.period_s, now))
    domains = sorted({*seen, *rules} - {""})
    found: dict[str, Finding] = {}
    for number, domain in enumerate(domains):
        if tick is not None:
            tick(number, len(domains))
        mail = seen.get(domain, NO_DELIVERIES)
        known = survey.domain(domain)
        found[domain] = judge(domain, mail, known, criteria, now, rules.get(domain))
    return found


def lost(
    deliveries: DeliveryEvidence,
    survey: SurveyKnowledge,
    rules: Mapping[str, PromotedRule],
    now: float,
) -> list[Finding]:
    """Return the rules in force, or given up, whose destinations no longer offer what they ask for.

    Raises:
        StoreUnavailable: If a store cannot be read.
    """
    kept = {domain: rule for domain, rule in rules.items() if now < rule.expires}
    criteria = Criteria()
    found = []
    for domain, rule in kept.items():
        rows = deliveries.destinations(now - criteria.period_s, now, domain)
        mail = by_domain(rows).get(domain, NO_DELIVERIES)
        finding = judge(domain, mail, survey.domain(domain), criteria, now, rule)
        if finding.lost:
            found.append(finding)
    return found


def by_domain(rows: Iterable[Destination]) -> dict[str, Deliveries]:
    """Return what the log tells of each domain; rows are sorted by it."""
    return {domain: _sum(list(group)) for domain, group in groupby(rows, lambda each: each.domain)}


def _sum(rows: list[Destination]) -> Deliveries:
    counts = [row.counts for row in rows]
    with_mail = (row for row in rows if row.relay and row.counts.sent)
    return Deliveries(
        sum(each.sent for each in counts),
        sum(each.plaintext for each in counts),
        sum(each.unknown for each in counts),
        sum(each.refused for each in counts),
        frozenset(row.relay for row in with_mail),
        _latest(row.last_of(*_GOOD) for row in rows),
        _latest(row.last_of(*_BAD) for row in rows),
    )


def _latest(times: Iterable[float | None]) -> float | None:
    return max((each for each in times if each is not None), default=None)
