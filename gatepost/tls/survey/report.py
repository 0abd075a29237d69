"""Add up what the survey knows: hosts and domains by what they offer, and by the operator's mail.

Source: figures of others differ widely by what is counted (mail exchangers, domains, messages), so
all of them are counted here.
Errors: none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from gatepost.tls.survey.knowledge import (
    AddressKnowledge,
    DomainKnowledge,
    HostKnowledge,
    MxOutcome,
)
from gatepost.tls.survey.model import CertificateVerdict, DaneVerdict, Verdict

# The worst first: what a host or domain is called after, if its servers differ.
_WORST = (Verdict.INJECTED, Verdict.STRIPPED, Verdict.BROKEN, Verdict.NONE, Verdict.TLS)
_WORST_CERTIFICATE = (
    CertificateVerdict.INVALID,
    CertificateVerdict.SELF_SIGNED,
    CertificateVerdict.UNTRUSTED,
    CertificateVerdict.EXPIRED,
    CertificateVerdict.NOT_YET_VALID,
    CertificateVerdict.WRONG_NAME,
    CertificateVerdict.NOT_ASKED,
    CertificateVerdict.VALID,
)
_WORST_DANE = (DaneVerdict.MISMATCH, DaneVerdict.UNUSABLE, DaneVerdict.MATCH)
NO_CERTIFICATE = "no-certificate"


class DomainWord(StrEnum):
    """What a domain offers, where it is more than the word of one server."""

    SOME = "some-hosts"
    NOT_PROBED = "not-probed"
    NO_MAIL = "no-mail"
    DNS_FAILED = "dns-failed"


@dataclass(frozen=True, slots=True)
class Standing:
    """What one host or domain offers.

    Attributes:
        starttls: A `Verdict` or a `DomainWord`.
        version: The oldest protocol version of its servers, or empty.
        certificate: The worst certificate, or empty without TLS.
        dane: The worst of its hosts with TLSA records; ``none`` without any.
    """

    starttls: str
    version: str = ""
    certificate: str = ""
    dane: str = DaneVerdict.NONE.value


@dataclass(slots=True)
class Tally:
    """Counts of one kind of thing, by each of its properties; weighted, if a weight is given."""

    count: int = 0
    starttls: Counter[str] = field(default_factory=Counter)
    version: Counter[str] = field(default_factory=Counter)
    certificate: Counter[str] = field(default_factory=Counter)
    dane: Counter[str] = field(default_factory=Counter)
    sts: Counter[str] = field(default_factory=Counter)

    def add(self, standing: Standing, sts: str = "", weight: int = 1) -> None:
        """Count one more."""
        self.count += weight
        self.starttls[standing.starttls] += weight
        self.dane[standing.dane] += weight
        if standing.version:
            self.version[standing.version] += weight
        if standing.certificate:
            self.certificate[standing.certificate] += weight
        if sts:
            self.sts[sts] += weight


@dataclass(slots=True)
class Summary:
    """All counts.

    Attributes:
        domains: Domains, each counted once.
        hosts: Mail exchangers, each counted once however many domains it serves.
        traffic: Domains, each counted with the operator's own deliveries to it.
        unsurveyed: Deliveries to domains that were never surveyed.
    """

    domains: Tally = field(default_factory=Tally)
    hosts: Tally = field(default_factory=Tally)
    traffic: Tally = field(default_factory=Tally)
    unsurveyed: int = 0


def summarise(known: Iterable[DomainKnowledge], weights: Mapping[str, int]) -> Summary:
    """Add up domains.

    Args:
        known: Each domain once.
        weights: Deliveries by domain; empty where the log knows none.
    """
    summary = Summary()
    seen: set[str] = set()
    left = dict(weights)
    for domain in known:
        standing = standing_of(domain)
        summary.domains.add(standing, domain.sts.value)
        weight = left.pop(domain.domain, 0)
        if weight:
            summary.traffic.add(standing, domain.sts.value, weight)
        for host in domain.hosts:
            if host.host not in seen:
                seen.add(host.host)
                summary.hosts.add(host_standing(host))
    summary.unsurveyed = sum(left.values())
    return summary


def address_word(seen: AddressKnowledge) -> str:
    """Return what an address offers; if the last probe says nothing, what was known before."""
    if seen.verdict is None:
        return DomainWord.NOT_PROBED.value
    if seen.verdict is Verdict.UNKNOWN and seen.settled is not None:
        return seen.settled.value
    return seen.verdict.value


def host_standing(host: HostKnowledge) -> Standing:
    """Return what a host offers: what its worst server does, of those that could be reached."""
    words = [address_word(each) for each in host.addresses]
    return Standing(_worst(words), *_details(host.addresses))


def standing_of(domain: DomainKnowledge) -> Standing:
    """Return what a domain offers."""
    if domain.outcome is MxOutcome.FAILED:
        return Standing(DomainWord.DNS_FAILED.value)
    if not domain.hosts:
        return Standing(DomainWord.NO_MAIL.value)
    words = [host_standing(host).starttls for host in domain.hosts]
    decisive = {word for word in words if word in {each.value for each in _WORST}}
    word = _worst(words)
    if len(decisive) > 1 and Verdict.TLS.value in decisive:
        word = DomainWord.SOME.value
    return Standing(word, *_details([each for host in domain.hosts for each in host.addresses]))


def _worst(words: Sequence[str]) -> str:
    order = [each.value for each in (*_WORST, Verdict.UNKNOWN, Verdict.UNREACHABLE)]
    return next((word for word in order if word in words), DomainWord.NOT_PROBED.value)


def _details(addresses: Sequence[AddressKnowledge]) -> tuple[str, str, str]:
    tls = [each for each in addresses if address_word(each) == Verdict.TLS]
    versions = sorted(each.version for each in tls if each.version)
    certificates = {each.certificate for each in tls}
    dane = {each.dane for each in tls}
    worst = next((each.value for each in _WORST_CERTIFICATE if each in certificates), "")
    if tls and not worst:
        worst = NO_CERTIFICATE
    word = next((each for each in _WORST_DANE if each in dane), DaneVerdict.NONE)
    return (versions[0] if versions else ""), worst, word.value
