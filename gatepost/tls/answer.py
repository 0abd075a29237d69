"""The TLS answer for one next-hop: all opinions joined, each named.

Purpose: what the map ``tls-<profile>`` says, and why. Opinions are the profile (its exception for
the destination, or its base), the rules for everyone, those that evidence has earned, what the
destination itself publishes (MTA-STS, TLSA records), and where one of these speaks, the operator's
own level, which Postfix would otherwise forget.
Source: Postfix postconf(5) smtp_tls_policy_maps: the key is the next-hop verbatim, "[host]",
"[host]:port" or "host:port" included, in any case; then parents with a leading dot. RFC 8461 §2:
MTA-STS never overrides DANE; §5: in mode enforce, hosts that do not fit are not delivered to.
Errors: none. Opinions that exclude each other give an answer with `TlsAnswer.waits`, and so does
too little knowledge where TLS is required: the map reports a temporary error, and mail waits.
Not handled: Postfix knows no level "dane, else verify". Where some MX hosts have TLSA records and
TLS is required, the others are passed over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gatepost.tls.dane import DaneDemand, demand_of
from gatepost.tls.knowledge import Knowledge
from gatepost.tls.levels import Dane, Level, Requirement, TlsVersion
from gatepost.tls.mtasts.policy import StsMode
from gatepost.tls.nexthop import nexthop_domain
from gatepost.tls.operator import ASKS_NOTHING, OperatorTls
from gatepost.tls.rules import Profile, TlsRules


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one source demands.

    Attributes:
        source: Where it comes from, such as ``profile private`` or ``tls.domains .gov.example``.
        requirement: What it demands.
    """

    source: str
    requirement: Requirement


@dataclass(frozen=True, slots=True)
class TlsAnswer:
    """What a delivery needs.

    Attributes:
        requirement: The join of all opinions, or None where nobody has one.
        opinions: Every opinion that was joined.
        blocked: Why the destination cannot be delivered to as required, or not be judged; or
            empty.
        sts: The knowledge whose MTA-STS policy alone decides the certificate names, or None.
        notes: What is known and was not joined, a sentence each.
        unnamed: Whether it is blocked because the MTA-STS policy names no MX host.
    """

    requirement: Requirement | None
    opinions: tuple[Opinion, ...] = ()
    blocked: str = ""
    sts: Knowledge | None = None
    notes: tuple[str, ...] = ()
    unnamed: bool = False

    @property
    def conflict(self) -> bool:
        """Tell whether two opinions exclude each other."""
        return self.requirement is not None and self.requirement.unsatisfiable

    @property
    def waits(self) -> str:
        """Return why mail has to wait, or an empty text."""
        if self.blocked:
            return self.blocked
        if self.conflict:
            sources = " and ".join(opinion.source for opinion in self.opinions)
            return f"{sources} accept no certificate name in common"
        return ""


NO_OPINION = TlsAnswer(None)


def decide_tls(
    profile: Profile | None,
    nexthop: str,
    rules: TlsRules,
    operator: OperatorTls = ASKS_NOTHING,
    knowledge: Knowledge | None = None,
    now: float = 0.0,
) -> TlsAnswer:
    """Return the joined answer for a next-hop.

    Args:
        profile: The profile that delivers, or None for mail of no profile, to which only the
            rules for everyone apply.
        nexthop: The map key as Postfix sent it.
        rules: The TLS part of the snapshot.
        operator: What Postfix itself asks for.
        knowledge: What was found out about the destination, or None if nobody looked.
        now: Unix time in seconds, for rules that end; at 0 none has ended.
    """
    # Postfix walks up to ".parent" keys when the name itself was not found. Rules for sub-domains
    # were already found with the name, so a parent key can only mean that there is no opinion.
    if nexthop.startswith("."):
        return NO_OPINION
    domain = nexthop_domain(nexthop)
    opinions = _configured(profile, domain, rules)
    if domain and (promoted := rules.promoted.find(domain, now)) is not None:
        opinions.append(Opinion(*promoted))
    own = operator.requirement(domain)
    asked = _join([*opinions, *_of_operator(operator, own)])
    # Names that the operator wrote down are looked for in a trusted certificate, and take the
    # place of what DNS says.
    if knowledge is None or (asked is not None and asked.match is not None):
        answer = _answer(_with_operator(opinions, profile, operator, own))
        return _only_dane(answer, operator) if rules.dane else answer
    return _discovered(opinions, _Case(profile, operator, own, asked), knowledge)


@dataclass(frozen=True, slots=True)
class _Case:
    profile: Profile | None
    operator: OperatorTls
    own: Requirement | None
    asked: Requirement | None

    @property
    def level(self) -> Level:
        return Level.MAY if self.asked is None else max(self.asked.level, Level.MAY)

    @property
    def waits_for_sts(self) -> bool:
        """Tell whether mail waits until it is known whether there is an MTA-STS policy."""
        return self.profile is not None and self.profile.fail_closed is True

    def holds(self, opinions: list[Opinion], required: Level) -> bool:
        """Tell whether mail waits where too little is known.

        Args:
            opinions: What is asked for without it.
            required: The level that is asked for by those to whom it matters.
        """
        stated = None if self.profile is None else self.profile.fail_closed
        if stated is not None:
            return stated
        # Without an opinion of ours, Postfix's own level holds, and looks for itself.
        strict = required > Level.MAY or self.operator.dane is not Dane.OFF
        return bool(opinions) and strict


def _discovered(opinions: list[Opinion], case: _Case, knowledge: Knowledge) -> TlsAnswer:
    """Return the answer with what the destination publishes."""
    sts = _sts_opinion(knowledge)
    required = case.level if sts is None else Level.VERIFY
    hosts = knowledge.hosts if knowledge.dane else ()
    demand = demand_of(hosts, required, mx_secure=knowledge.mx_secure)
    unknown = knowledge.failure or (demand.why if demand.unknown else "")
    if case.operator.dane is Dane.ONLY:
        demand = DaneDemand(Dane.ONLY, demand.why or "the operator's level")
    if demand.dane is not Dane.OFF:
        return _with_dane(opinions, case, demand, sts)
    joined = _with_operator(
        opinions if sts is None else [*opinions, sts], case.profile, case.operator, case.own
    )
    # MTA-STS never stands in for TLSA records that cannot be looked up (RFC 8461 §2), but it is
    # enough where MX records cannot: a policy that holds is applied all the same (§3.3).
    concerned = case.level if knowledge.failure else required
    blocked = unknown if unknown and case.holds(joined, concerned) else ""
    if knowledge.sts_failure and case.waits_for_sts:
        # Stricter than RFC 8461 §3.3: who can suppress a record could otherwise do without TLS.
        blocked = blocked or knowledge.sts_failure
    notes = (f"not known, and let pass: {unknown}",) if unknown and not blocked else ()
    unnamed = sts is not None and sts.requirement.match is None and not blocked
    if unnamed:
        blocked = f"no MX host of {knowledge.sts_domain} is named by its MTA-STS policy"
    published = None if sts is None else knowledge
    return replace(_answer(joined), blocked=blocked, sts=published, notes=notes, unnamed=unnamed)


def _only_dane(answer: TlsAnswer, operator: OperatorTls) -> TlsAnswer:
    """Return an answer that keeps the operator's dane-only, whatever is known."""
    if operator.dane is not Dane.ONLY or answer.requirement is None:
        return answer
    if answer.requirement.match is not None:
        why = "smtp_tls_security_level dane-only and certificate names cannot both be asked for"
        return replace(answer, blocked=why)
    own = Opinion("smtp_tls_security_level dane-only", Requirement(Level.VERIFY, dane=Dane.ONLY))
    return _answer([*answer.opinions, own])


def _with_dane(
    opinions: list[Opinion], case: _Case, demand: DaneDemand, sts: Opinion | None
) -> TlsAnswer:
    level = Level.VERIFY if demand.dane is Dane.ONLY else Level.MAY
    opinion = Opinion(f"DANE: {demand.why}", Requirement(level, dane=demand.dane))
    notes = () if sts is None else (f"{sts.source}: DANE goes before it (RFC 8461 §2)",)
    joined = [*opinions, opinion]
    if case.own is not None:
        joined.append(Opinion(f"smtp_tls_security_level {case.operator.level}", case.own))
    return replace(_answer(joined), notes=notes)


def _sts_opinion(knowledge: Knowledge) -> Opinion | None:
    """Return what an enforced MTA-STS policy demands.

    The names are those of the MX hosts that the policy names, not its patterns: Postfix would
    accept a certificate for any name below a pattern, and at any MX host.
    """
    if knowledge.sts is None or knowledge.sts.mode is not StsMode.ENFORCE:
        return None
    source = f"MTA-STS policy {knowledge.sts_id} of {knowledge.sts_domain}"
    if knowledge.hosts:
        names = {host.name for host in knowledge.hosts if knowledge.sts.names(host.name)}
    else:
        # A policy that holds applies whatever else cannot be found out.
        names = {pattern.removeprefix("*") for pattern in knowledge.sts.patterns}
    return Opinion(source, Requirement(Level.VERIFY, TlsVersion.TLSv1_2, frozenset(names) or None))


def _configured(profile: Profile | None, domain: str | None, rules: TlsRules) -> list[Opinion]:
    opinions = []
    if profile is not None:
        found = profile.exceptions.find(domain) if domain else None
        if found is not None:
            opinions.append(Opinion(f"profile {profile.name}, domain {found[0]}", found[1]))
        elif profile.base.level > Level.MAY:
            opinions.append(Opinion(f"profile {profile.name}", profile.base))
    if domain and (rule := rules.everyone.find(domain)) is not None:
        opinions.append(Opinion(f"tls.domains {rule[0]}", rule[1]))
    return opinions


def _with_operator(
    opinions: list[Opinion],
    profile: Profile | None,
    operator: OperatorTls,
    own: Requirement | None,
) -> list[Opinion]:
    """Return the opinions with the operator's own, or none where its level had better hold."""
    requirement = _join(opinions)
    if requirement is None or own is None:
        return opinions
    if requirement.level <= Level.MAY and (profile is None or profile.base.level <= Level.MAY):
        # What asks for nothing needs no answer: the operator's own level holds, and so do the
        # exceptions that the operator makes from it. In a service of a stricter profile, no
        # answer would mean the profile's level.
        return []
    return [*opinions, *_of_operator(operator, own)]


def _of_operator(operator: OperatorTls, own: Requirement | None) -> list[Opinion]:
    return [] if own is None else [Opinion(f"smtp_tls_security_level {operator.level}", own)]


def _answer(opinions: list[Opinion]) -> TlsAnswer:
    return TlsAnswer(_join(opinions), tuple(opinions)) if opinions else NO_OPINION


def _join(opinions: list[Opinion]) -> Requirement | None:
    joined = None
    for opinion in opinions:
        own = opinion.requirement
        joined = own if joined is None else joined.join(own)
    return joined
