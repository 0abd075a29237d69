"""From evidence to rules: which destinations have earned one, which have lost theirs, and why.

Purpose: the decisions of ``gatepost tls promote``. A destination is raised only if every mail
exchanger that could be reached offered TLS in every probe of the period, every delivery of the
period had it, and both have gone on for long enough.
Source: EFF STARTTLS Everywhere, RULES and VALIDATION (a week of daily checks before a destination
is listed, an expiry after which the entry has no effect, only reachable MX hosts count); chasquid
docs/sec-levels.md.
Errors: none; each refusal says what stands against it.
Security: what the log does not tell counts against a destination, never for it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gatepost.tls.answer import decide_tls
from gatepost.tls.levels import Level, Requirement
from gatepost.tls.promoted import Downgrade, PromotedRule
from gatepost.tls.rules import TlsRules
from gatepost.tls.survey.knowledge import DomainKnowledge, Evidence, Standing, evidence_of
from gatepost.tls.survey.model import CertificateVerdict, Verdict

DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Deliveries:
    """What the log tells of deliveries to one domain in the period.

    Attributes:
        sent: Message-recipients that were delivered.
        plaintext: Those of them without TLS.
        unknown: Those of which the log does not tell.
        refused: Message-recipients not delivered for want of the TLS that was asked for.
        relays: Host names that they went to.
        good_at: Unix time of the last one with TLS, or None.
        bad_at: Unix time of the last one in plaintext or refused, or None.
    """

    sent: int = 0
    plaintext: int = 0
    unknown: int = 0
    refused: int = 0
    relays: frozenset[str] = frozenset()
    good_at: float | None = None
    bad_at: float | None = None


NO_DELIVERIES = Deliveries()


@dataclass(frozen=True, slots=True)
class Criteria:
    """What it takes.

    Attributes:
        level: The level to raise to: encrypt, or verify.
        period_s: How far back evidence is looked at.
        traffic_over: Deliveries in the period, of which there must be more.
        streak: The fewest probes in a row with TLS, at each address.
        age_s: How long the shortest of these runs must have lasted.
        fresh_s: How old the last sight of TLS at any address may be.
        lifetime_s: How long a rule holds without new evidence.
        downgrade: What new rules say of a destination that drops TLS.
    """

    level: Level = Level.ENCRYPT
    period_s: float = 30 * DAY_S
    traffic_over: int = 0
    streak: int = 3
    age_s: float = 7 * DAY_S
    fresh_s: float = 14 * DAY_S
    lifetime_s: float = 60 * DAY_S
    downgrade: Downgrade = Downgrade.DEFER


@dataclass(frozen=True, slots=True)
class Finding:
    """What is made of one destination.

    Attributes:
        domain: A-label domain.
        deliveries: What the log tells.
        rule: The rule that it has earned, or has and keeps; None without one.
        why: What that rests on, or what stands against it; without a full stop.
        lost: Whether it had a rule and no longer offers what that asks for.
        before: The rule that it had, or None.
    """

    domain: str
    deliveries: Deliveries
    rule: PromotedRule | None
    why: str
    lost: bool = False
    before: PromotedRule | None = None


def judge(
    domain: str,
    deliveries: Deliveries,
    known: DomainKnowledge | None,
    criteria: Criteria,
    now: float,
    before: PromotedRule | None = None,
) -> Finding:
    """Return what is made of a destination.

    Args:
        domain: A-label domain.
        deliveries: What the log tells of the period.
        known: What the survey knows, or None.
        criteria: What it takes.
        now: Unix time in seconds.
        before: The rule that it has, which may have ended.
    """
    survey = evidence_of(known, now - criteria.period_s)
    had = None if before is None else before.requirement.level
    for level in sorted({criteria.level, had or criteria.level}, reverse=True):
        # A rule is raised further, and never lowered.
        if had is not None and level < had:
            break
        against = _against(deliveries, known, survey, replace(criteria, level=level), now)
        if not against:
            rule = _earned(deliveries, survey, replace(criteria, level=level), now, before)
            return Finding(domain, deliveries, rule, rule.evidence, before=before)
    if before is None:
        return Finding(domain, deliveries, None, against)
    lost = why_lost(before, deliveries, known)
    if not lost:
        # Too little new evidence: it holds until it ends.
        return Finding(domain, deliveries, before, against, before=before)
    rule = before if before.dropped is not None else replace(before, dropped=_day_start(now))
    return Finding(domain, deliveries, rule, lost, lost=True, before=before)


def own_word(domain: str, rules: TlsRules, level: Level, now: float) -> str:
    """Return why the configuration leaves no room for a new rule, or an empty text.

    Args:
        domain: A-label domain.
        rules: The TLS part of the snapshot, without promoted rules.
        level: The level that a rule would ask for.
        now: Unix time in seconds.
    """
    asked = decide_tls(None, domain, rules, now=now).requirement
    if asked is not None and asked.level >= level:
        return f"tls.domains asks for {asked.level.keyword} already"
    for where, table in (
        ("tls.domains", rules.everyone),
        *((f"profile {each.name}", each.exceptions) for each in rules.profiles.values()),
    ):
        found = table.find(domain)
        # An exception that somebody wrote down is not overruled by what was seen.
        if found is not None and found[1].level < level:
            return f"{where} says {found[1].level.keyword} of {found[0]}"
    return ""


def why_lost(rule: PromotedRule, deliveries: Deliveries, known: DomainKnowledge | None) -> str:
    """Return why a destination no longer offers what its rule asks for, or an empty text.

    What was seen last counts, in the log and in each address of the survey.

    Args:
        rule: Its rule.
        deliveries: What the log tells.
        known: What the survey knows, or None.
    """
    bad, good = deliveries.bad_at, deliveries.good_at
    if bad is not None and bad >= rule.since and (good is None or good < bad):
        return f"deliveries without the TLS that is asked for, last on {_day(bad)}"
    for host in known.hosts if known is not None else ():
        for seen in host.addresses:
            without = seen.settled not in {None, Verdict.TLS} and seen.other_at >= rule.since
            if without:
                return f"{host.host}[{seen.address}]: {seen.settled} on {_day(seen.other_at)}"
            invalid = seen.certificate not in {None, CertificateVerdict.VALID}
            if (
                rule.requirement.level is Level.VERIFY
                and invalid
                and seen.certificate_bad_at >= rule.since
            ):
                day = _day(seen.certificate_bad_at)
                return f"{host.host}[{seen.address}]: certificate {seen.certificate} on {day}"
    return ""


def _against(
    deliveries: Deliveries,
    known: DomainKnowledge | None,
    survey: Evidence,
    criteria: Criteria,
    now: float,
) -> str:
    return (
        _in_deliveries(deliveries, criteria)
        or _in_survey(survey, criteria, now)
        or _in_both(deliveries, known)
    )


def _in_deliveries(deliveries: Deliveries, criteria: Criteria) -> str:
    sent = deliveries.sent
    if deliveries.plaintext:
        return f"{deliveries.plaintext} of {sent} deliveries in plaintext"
    if deliveries.refused:
        return f"{deliveries.refused} not delivered for want of the TLS that was asked for"
    if deliveries.unknown:
        return f"{deliveries.unknown} of {sent} deliveries of which the log does not tell"
    if sent <= criteria.traffic_over:
        return f"{sent} deliveries, not more than {criteria.traffic_over}"
    return ""


def _in_survey(survey: Evidence, criteria: Criteria, now: float) -> str:
    if survey.standing is Standing.NOTHING:
        return f"not surveyed in the period ({survey.why}); run gatepost tls survey"
    if survey.standing is not Standing.ALWAYS:
        return survey.why
    if now - survey.last_at > criteria.fresh_s:
        return (
            f"an address was last seen with TLS on {_day(survey.last_at)}; run gatepost tls survey"
        )
    return _in_runs(survey, criteria, now)


def _in_runs(survey: Evidence, criteria: Criteria, now: float) -> str:
    streak = survey.streak
    if criteria.level is Level.VERIFY:
        if not survey.verified:
            return "not every certificate was valid in every probe"
        streak = min(streak, survey.verified_streak)
    if streak < criteria.streak:
        return f"an address has only {streak} good probes in a row, and {criteria.streak} are asked"
    if now - survey.since < criteria.age_s:
        asked = f"{criteria.age_s / DAY_S:g} days are asked"
        return f"an address has had TLS since {_day(survey.since)} only, and {asked}"
    return ""


def _in_both(deliveries: Deliveries, known: DomainKnowledge | None) -> str:
    hosts = {host.host for host in known.hosts} if known is not None else set()
    if others := sorted(deliveries.relays - hosts):
        # Its own servers were not what the mail went to, so the log proves nothing of them.
        return f"delivered by way of {others[0]}, which is no mail exchanger of it now"
    return ""


def _earned(
    deliveries: Deliveries,
    survey: Evidence,
    criteria: Criteria,
    now: float,
    before: PromotedRule | None,
) -> PromotedRule:
    today = _day_start(now)
    start = _day(now - criteria.period_s)
    evidence = (
        f"{deliveries.sent} deliveries from {start} to {_day(now)}, all encrypted; "
        f"{survey.addresses} MX address{'es' if survey.addresses > 1 else ''}, at least "
        f"{survey.streak} probes in a row with TLS at each, "
        f"since {_day(survey.since)} or earlier"
    )
    expires = today + criteria.lifetime_s
    requirement = Requirement(criteria.level)
    if before is None:
        return PromotedRule(requirement, today, expires, criteria.downgrade, None, evidence)
    since = before.since
    if not before.in_force(now) or before.requirement != requirement:
        since = today
    # An operator may have set a later end.
    later = max(before.expires, expires)
    return PromotedRule(requirement, since, later, before.downgrade, None, evidence)


def written(findings: Mapping[str, Finding], now: float) -> dict[str, PromotedRule]:
    """Return the rules to write: those that were earned or are kept, without those that ended."""
    return {
        domain: finding.rule
        for domain, finding in findings.items()
        if finding.rule is not None and now < finding.rule.expires
    }


def _day(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).date().isoformat()


def _day_start(now: float) -> float:
    return now // DAY_S * DAY_S
