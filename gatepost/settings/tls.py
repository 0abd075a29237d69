"""From the TLS settings to the rules that decisions read, and what two rules may not be together.

Errors: problems go to the report; the rules that come back are whole all the same.
Security: the profile ``standard`` delivers the mail of every tenant whose TLS rules are not
enforced, so a rule in it would act in observe; it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gatepost.settings.keys_tls import DomainRuleSection, ProfileSection, TlsSection
from gatepost.settings.problems import Place, Report
from gatepost.tenants.model import DEFAULT_PROFILE
from gatepost.tls.answer import decide_tls
from gatepost.tls.levels import Level, Requirement
from gatepost.tls.promoted import PromotedRules
from gatepost.tls.rules import DomainRules, Profile, TlsRules

# A label that no rule names, to stand for any sub-domain.
_ANY_LABEL = "gatepost-any"


def build_tls(section: TlsSection, promoted: PromotedRules, file: str, report: Report) -> TlsRules:
    """Return the TLS part of a snapshot."""
    builder = _Builder(file, report)
    at = ("tls", "profiles")
    profiles = {
        name: builder.profile(name, each, (*at, name)) for name, each in section.profiles.items()
    }
    ordinary = Profile(DEFAULT_PROFILE, Requirement(Level.MAY))
    if profiles.setdefault(DEFAULT_PROFILE, ordinary) != ordinary:
        report.error(
            Place(file, (*at, DEFAULT_PROFILE)),
            "is the profile of every tenant whose rules are not enforced, so it can have none",
            "leave it at level: may, and give the rules to a profile with another name",
        )
    everyone = builder.domains(section.domains, ("tls", "domains"))
    rules = TlsRules(
        profiles, everyone, section.without_dane, section.dane, section.mta_sts, promoted
    )
    for name, domain, other in _conflicts(rules):
        report.error(
            Place(file, (*at, name, "domains", domain, "match")),
            f"has no certificate name in common with tls.domains[{other}]",
            "let both accept one name",
        )
    return rules


class _Builder:
    """Makes requirements; equal ones share one object."""

    def __init__(self, file: str, report: Report) -> None:
        self._file = file
        self._report = report
        self._made: dict[Requirement, Requirement] = {}

    def profile(self, name: str, section: ProfileSection, at: tuple[str, ...]) -> Profile:
        """Return a profile."""
        base = self._requirement(section.level, section, (), at)
        exceptions = self.domains(section.domains, (*at, "domains"))
        return Profile(name, base, exceptions, section.on_failure, section.fail, section.at_rcpt)

    def domains(self, table: Mapping[str, DomainRuleSection], at: tuple[str, ...]) -> DomainRules:
        """Return rules by destination."""
        return DomainRules(
            {
                domain: self._requirement(rule.level, rule, rule.match, (*at, domain))
                for domain, rule in table.items()
            }
        )

    def _requirement(
        self,
        level: Level | None,
        section: ProfileSection | DomainRuleSection,
        match: tuple[str, ...],
        at: tuple[str, ...],
    ) -> Requirement:
        version = section.min_version
        if level is None:
            # It is reported already; with the strictest level nothing else is said about it.
            level = Level.VERIFY
        if version is not None and level < Level.ENCRYPT:
            self._report.error(
                Place(self._file, (*at, "min_version")),
                f"needs an encrypted connection, and level {level.keyword} does not",
                "set level: encrypt, or remove min_version",
            )
        if match and level is not Level.VERIFY:
            self._report.error(
                Place(self._file, (*at, "match")),
                f"needs level verify, since {level.keyword} looks at no certificate",
                "set level: verify, or remove match",
            )
        made = Requirement(level, version, frozenset(match) or None)
        return self._made.setdefault(made, made)


def _conflicts(rules: TlsRules) -> Iterator[tuple[str, str, str]]:
    """Yield profile, its domain and the key of the rule for everyone that exclude each other."""
    general = [key for key, rule in rules.everyone.table.items() if rule.match is not None]
    for profile in rules.profiles.values():
        own = [key for key, rule in profile.exceptions.table.items() if rule.match is not None]
        if not own:
            continue
        for key in {*own, *general}:
            domain = f"{_ANY_LABEL}{key}" if key.startswith(".") else key
            found = profile.exceptions.find(domain)
            other = rules.everyone.find(domain)
            if found and other and decide_tls(profile, domain, rules).conflict:
                yield profile.name, found[0], other[0]
