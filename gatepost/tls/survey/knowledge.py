"""What the survey knows of a domain, and whether that proves that TLS can be relied on.

Purpose: the queries of `tls promote` and of the check at RCPT time. The store fills these objects;
`evidence_of` reads them and decides.
Source: EFF's starttls-everywhere, checker/README: only MX hosts that can be reached count, since
many domains publish dummies; chasquid's docs/sec-levels.md: what was seen has an age.
Errors: none.
Not handled: a server is seen from one place; who sits before another path may see something else.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gatepost.tls.dane import TlsaState
from gatepost.tls.dns_answer import Outcome, Tlsa
from gatepost.tls.survey.addresses import is_public
from gatepost.tls.survey.model import CertificateVerdict, DaneVerdict, Probed, Target, Verdict

_SILENT = "says nothing about TLS"
# RFC 9325 §3.1.1; Debian's OpenSSL does not even connect with them.
_OLD = frozenset({"SSLv3", "TLSv1", "TLSv1.1"})


class MxOutcome(StrEnum):
    """What DNS says of the mail exchangers of a domain."""

    FOUND = "found"
    IMPLICIT = "implicit"
    NULL = "null"
    ABSENT = "absent"
    FAILED = "failed"


class Sts(StrEnum):
    """The MTA-STS policy of a domain."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"
    ABSENT = "absent"
    FAILED = "failed"
    NOT_ASKED = "not-asked"


@dataclass(frozen=True, slots=True)
class MxOf:
    """A mail exchanger in the list of a domain."""

    host: str
    preference: int


@dataclass(frozen=True, slots=True)
class ResolvedDomain:
    """What DNS said of a domain.

    Attributes:
        domain: Normalised name.
        at: Unix time.
        outcome: Found; no MX but an address of its own (implicit); null MX; neither; or failed.
        hosts: Its mail exchangers.
        secure: Whether the list is authentic.
        sts: Its MTA-STS policy.
    """

    domain: str
    at: float
    outcome: MxOutcome
    hosts: tuple[MxOf, ...] = ()
    secure: bool = False
    sts: Sts = Sts.NOT_ASKED


@dataclass(frozen=True, slots=True)
class ResolvedHost:
    """What DNS said of a mail exchanger.

    Attributes:
        host: Normalised name.
        at: Unix time.
        outcome: Of the lookup of its addresses.
        addresses: IPv4 and IPv6.
        secure: Whether they are authentic.
        tlsa: What is known of its TLSA records.
        records: These records, if they are authentic.
    """

    host: str
    at: float
    outcome: Outcome
    addresses: tuple[str, ...] = ()
    secure: bool = False
    tlsa: TlsaState = TlsaState.NONE
    records: tuple[Tlsa, ...] = ()


@dataclass(frozen=True, slots=True)
class AddressKnowledge:
    """What is known of one address of a mail exchanger. All times are Unix time, 0 for never.

    Attributes:
        address: IP address.
        verdict: Of the last probe; None if none has ended.
        reason: Why, in a few words.
        first_at: First probe.
        last_at: Last probe.
        probes: How many probes ended.
        settled: The last verdict that says something about TLS, or None.
        previous: The one before that, which differs from it, or None.
        changed_at: When it became what it is.
        tls_at: When TLS was last seen to work.
        tls_since: The first of the unbroken run of probes in which it worked. Probes that say
            nothing about TLS do not break the run.
        tls_streak: How many probes that run has.
        other_at: When it was last seen not to work: no STARTTLS, broken, stripped or injected.
        reached_at: When a server last spoke, whatever it said.
        version: Protocol version.
        cipher: Cipher.
        certificate: What the certificate is worth for this host, or None without one.
        certificate_since: The first of the unbroken run of probes for this host with a valid one.
        certificate_streak: How many probes that run has.
        certificate_bad_at: When it was last seen not to be valid for this host.
        not_after: When the certificate expires.
        dane: Whether the TLSA records fit.
    """

    address: str
    verdict: Verdict | None = None
    reason: str = ""
    first_at: float = 0.0
    last_at: float = 0.0
    probes: int = 0
    settled: Verdict | None = None
    previous: Verdict | None = None
    changed_at: float = 0.0
    tls_at: float = 0.0
    tls_since: float = 0.0
    tls_streak: int = 0
    other_at: float = 0.0
    reached_at: float = 0.0
    version: str = ""
    cipher: str = ""
    certificate: CertificateVerdict | None = None
    certificate_since: float = 0.0
    certificate_streak: int = 0
    certificate_bad_at: float = 0.0
    not_after: float = 0.0
    dane: DaneVerdict = DaneVerdict.NONE


@dataclass(frozen=True, slots=True)
class HostKnowledge:
    """What is known of a mail exchanger in the present list of a domain.

    Attributes:
        host: Normalised name.
        preference: Lower is tried first.
        addresses: Its present addresses.
        secure: Whether they are authentic.
        tlsa: What is known of its TLSA records.
    """

    host: str
    preference: int
    addresses: tuple[AddressKnowledge, ...]
    secure: bool = False
    tlsa: TlsaState = TlsaState.NONE


@dataclass(frozen=True, slots=True)
class DomainKnowledge:
    """What is known of a domain.

    Attributes:
        domain: Normalised name.
        outcome: What DNS said of its mail exchangers.
        resolved_at: When; Unix time.
        first_at: When it was first surveyed.
        hosts: Its present mail exchangers, the most preferred first.
        secure: Whether that list is authentic.
        sts: Its MTA-STS policy.
    """

    domain: str
    outcome: MxOutcome
    resolved_at: float
    first_at: float
    hosts: tuple[HostKnowledge, ...] = ()
    secure: bool = False
    sts: Sts = Sts.NOT_ASKED


class Standing(StrEnum):
    """What the probes of a period prove."""

    ALWAYS = "always"
    NOT = "not"
    UNDECIDED = "undecided"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the probes of a period prove for a domain.

    Attributes:
        standing: Always: every MX host that could be reached offered working TLS in every probe of
            the period that said anything, and none is undecided. Not: one was seen without, or
            now has only versions before TLS 1.2, which Postfix's OpenSSL may refuse.
            Undecided: one answers, but never said anything about TLS, or none of its addresses was
            probed. Nothing: no probe, or none that reached a server.
        verified: Whether, beyond that, every certificate was valid in all of these probes.
        why: What stands against it, with host and address; empty for always.
        streak: The fewest probes in a row with TLS, of all addresses that were reached.
        verified_streak: The same for valid certificates.
        since: When the youngest of these runs began; Unix time.
        last_at: The oldest of the last sights of TLS; Unix time, 0 for none.
        addresses: How many addresses that rests on.
    """

    standing: Standing
    verified: bool = False
    why: str = ""
    streak: int = 0
    verified_streak: int = 0
    since: float = 0.0
    last_at: float = 0.0
    addresses: int = 0


class SurveyKnowledge(Protocol):
    """What others ask of the survey's store."""

    def domain(self, domain: str) -> DomainKnowledge | None:
        """Return what is known of a domain (normalised), or None if it was never surveyed.

        Raises:
            StoreUnavailable: If the store cannot be read.
        """

    def domains(self, *, resolved_since: float = 0.0) -> Iterator[DomainKnowledge]:
        """Yield all domains by name, those whose MX records were looked up since a Unix time.

        Raises:
            StoreUnavailable: If the store cannot be read.
        """


class SurveyRecord(Protocol):
    """What a running survey asks of its store; errors are `StoreUnavailable`."""

    def begin(self, targets: Sequence[Target], now: float, not_since: float) -> list[Target]:
        """Write down that these are about to be probed; return those that may be.

        Args:
            targets: Whom we are about to connect to.
            now: Unix time.
            not_since: An address whose last probe began after this Unix time is left out, unless
                that is more than a day ahead, when a clock was wrong.
        """

    def finish(self, probes: Sequence[Probed]) -> None:
        """Store what probes found, all or none."""

    def resolved(self, domains: Sequence[ResolvedDomain], hosts: Sequence[ResolvedHost]) -> None:
        """Store what DNS said, all or none."""


def evidence_of(known: DomainKnowledge | None, since: float) -> Evidence:
    """Return what the probes since a Unix time prove for a domain."""
    if known is None or not known.hosts:
        return Evidence(Standing.NOTHING, why="never surveyed, or without a mail exchanger")
    if known.resolved_at < since:
        return Evidence(Standing.NOTHING, why="its MX records were not looked up in the period")
    seen = [(host.host, each) for host in known.hosts for each in host.addresses]
    for host, each in seen:
        if against := _against(each, since):
            why = f"{host}[{each.address}]: {against}"
            return Evidence(Standing.NOT, why=why, last_at=each.tls_at)
    good = [each for _, each in seen if _within(each.tls_at, since)]
    answers = [(host, each) for host, each in seen if _answers_only(each, since)]
    if not good and not answers:
        return Evidence(Standing.NOTHING, why="no server could be reached in the period")
    undecided = [
        *(f"{host}[{each.address}]: {each.reason or _SILENT}" for host, each in answers),
        # Left out, or lost: that is not to say that it could not be reached.
        *(f"{mx.host}: not probed in the period" for mx in known.hosts if _is_unasked(mx, since)),
    ]
    return Evidence(Standing.UNDECIDED, why=undecided[0]) if undecided else _always(good, since)


def _within(at: float, since: float) -> bool:
    return at > 0 and at >= since


def _answers_only(seen: AddressKnowledge, since: float) -> bool:
    return _within(seen.reached_at, since) and not _within(seen.tls_at, since)


def _is_unasked(host: HostKnowledge, since: float) -> bool:
    """Tell whether nobody asked any address of a mail exchanger, though one might have.

    Of a large provider's host, only some of the addresses are asked; they stand for all. Addresses
    that are not public are never asked, and many domains publish some.
    """
    if any(_within(each.last_at, since) for each in host.addresses):
        return False
    return any(is_public(each.address) for each in host.addresses)


def _against(seen: AddressKnowledge, since: float) -> str:
    """Return what stands against an address, or nothing."""
    if _within(seen.other_at, since):
        what = seen.settled if seen.settled is not Verdict.TLS else seen.previous
        day = dt.datetime.fromtimestamp(seen.other_at, dt.UTC).date().isoformat()
        return f"{what or 'no TLS'} on {day}"
    if _within(seen.tls_at, since) and seen.version in _OLD:
        return f"{seen.version} only"
    return ""


def _always(good: Sequence[AddressKnowledge], since: float) -> Evidence:
    return Evidence(
        Standing.ALWAYS,
        verified=all(
            seen.certificate is CertificateVerdict.VALID
            and seen.certificate_streak > 0
            and seen.certificate_bad_at < since
            for seen in good
        ),
        streak=min(seen.tls_streak for seen in good),
        verified_streak=min(seen.certificate_streak for seen in good),
        since=max(seen.tls_since for seen in good),
        last_at=min(seen.tls_at for seen in good),
        addresses=len(good),
    )
