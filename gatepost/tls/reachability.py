"""Whether a destination can meet a requirement, as far as that is known before mail is accepted.

Purpose: a client that still holds the message is told at RCPT TO what would otherwise become a
bounce, or a message that waits for days.
Source: RFC 3463 §3.8 and RFC 7817 for 5.7.10, "encryption needed"; SendGrid's Enforced TLS drops
such mail with an event that says so.
Limits: what was last seen more than 7 days ago is not taken for knowledge; more than a day ago, or
with a host of which nothing is known, it is uncertain.
Errors: none.
Not handled: certificates for names that a rule gives in ``match``: the survey looks for the name of
the MX host. Such a rule is judged by whether TLS works at all.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from gatepost.tls.levels import Dane, Level, Requirement, TlsVersion
from gatepost.tls.survey.knowledge import AddressKnowledge, DomainKnowledge
from gatepost.tls.survey.model import CertificateVerdict, Verdict

DAY_S = 86_400.0
CERTAIN_S = DAY_S
FORGOTTEN_S = 7 * DAY_S

_VERSIONS = {version.keyword: version for version in TlsVersion}


@dataclass(frozen=True, slots=True)
class HostSight:
    """What was last seen of a mail exchanger.

    Attributes:
        host: Normalised name.
        level: The best level that any of its addresses reached: verify with a certificate that is
            valid for its name, encrypt with any, none without TLS that works.
        version: The highest protocol version seen, or None.
        seen_at: Unix time of the last sight that says something, 0 for never.
    """

    host: str
    level: Level = Level.NONE
    version: TlsVersion | None = None
    seen_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Sights:
    """What is known of a destination.

    Attributes:
        hosts: Its mail exchangers, as the survey last saw them; empty if it never did.
        good_at: Unix time of the last delivery by TLS, 0 for none.
        bad_at: Unix time of the last delivery in plaintext, or refused for want of TLS; 0 for none.
    """

    hosts: tuple[HostSight, ...] = ()
    good_at: float = 0.0
    bad_at: float = 0.0


NO_SIGHTS = Sights()


@dataclass(frozen=True, slots=True)
class Unmet:
    """A requirement that a destination does not meet.

    Attributes:
        certain: Whether every host was seen of late, and none meets it.
        why: What they lack, for the client; names no tenant.
        seen_at: Unix time at which that was last seen; 0 where it is known at this moment.
        source: ``survey``, ``deliveries`` or ``published``.
    """

    certain: bool
    why: str
    seen_at: float
    source: str

    def text(self, domain: str, asked: str) -> str:
        """Return the text of the refusal.

        Args:
            domain: The recipient's domain.
            asked: What is asked for and by whom, such as ``encrypt by profile private``.
        """
        seen = ""
        if self.seen_at:
            at = dt.datetime.fromtimestamp(self.seen_at, dt.UTC)
            seen = f", last seen {at:%Y-%m-%d %H:%M} UTC by {self.source}"
        return f"{domain} does not offer the TLS that is asked for ({asked}): {self.why}{seen}"


def sights_of(domain: DomainKnowledge | None, good_at: float = 0.0, bad_at: float = 0.0) -> Sights:
    """Return what the survey and the deliveries tell of a destination.

    Args:
        domain: What the survey knows of it, or None.
        good_at: Unix time of the last delivery by TLS, 0 for none.
        bad_at: Unix time of the last one without, 0 for none.
    """
    hosts: tuple[HostSight, ...] = ()
    if domain is not None:
        hosts = tuple(_host(host.host, host.addresses) for host in domain.hosts)
    if not (hosts or good_at or bad_at):
        # That very object, by which whoever asks for each recipient knows that there is nothing
        # to decide.
        return NO_SIGHTS
    return Sights(hosts, good_at, bad_at)


def unmet(requirement: Requirement, sights: Sights, now: float) -> Unmet | None:
    """Return why a destination does not meet a requirement, or None if it may.

    Args:
        requirement: What is asked for.
        sights: What is known.
        now: Unix time in seconds.
    """
    if requirement.level <= Level.MAY:
        return None
    known = [host for host in sights.hosts if now - host.seen_at < FORGOTTEN_S]
    if not known:
        return _by_deliveries(sights, now)
    if any(_meets(host, requirement) for host in known):
        return None
    seen_at = min(host.seen_at for host in known)
    if sights.good_at > seen_at:
        # A delivery by TLS since then says more than the probe; not of certificates, though.
        return None
    every = len(known) == len(sights.hosts)
    certain = every and now - seen_at < CERTAIN_S
    return Unmet(certain, _lack(known, requirement), seen_at, "survey")


def _by_deliveries(sights: Sights, now: float) -> Unmet | None:
    if not sights.bad_at or sights.good_at >= sights.bad_at or now - sights.bad_at >= FORGOTTEN_S:
        return None
    return Unmet(
        False, "mail was last delivered or refused without it", sights.bad_at, "deliveries"
    )


def _meets(host: HostSight, requirement: Requirement) -> bool:
    wanted = requirement.level
    if requirement.match is not None or requirement.dane is not Dane.OFF:
        wanted = min(wanted, Level.ENCRYPT)
    if host.level < wanted:
        return False
    if requirement.min_version is None or host.version is None:
        return True
    return host.version >= requirement.min_version


def _lack(hosts: Iterable[HostSight], requirement: Requirement) -> str:
    best = max(hosts, key=lambda host: (host.level, host.version or 0))
    if best.level < Level.ENCRYPT:
        return "no mail server of it does STARTTLS"
    if requirement.min_version is not None and (best.version or 0) < requirement.min_version:
        return f"no mail server of it does {requirement.min_version.keyword}"
    return "no mail server of it has a certificate that is valid for its name"


def _host(name: str, addresses: Iterable[AddressKnowledge]) -> HostSight:
    settled = [each for each in addresses if each.settled is not None]
    if not settled:
        return HostSight(name)
    levels = [_level(each) for each in settled]
    versions = [v for each in settled if (v := _VERSIONS.get(each.version)) is not None]
    return HostSight(
        name,
        max(levels),
        max(versions, default=None),
        max(max(each.tls_at, each.other_at) for each in settled),
    )


def _level(address: AddressKnowledge) -> Level:
    if address.settled is not Verdict.TLS:
        return Level.NONE
    # Another name of the server was asked for: nothing is known against this one.
    unknown = address.certificate in {None, CertificateVerdict.NOT_ASKED}
    valid = address.certificate is CertificateVerdict.VALID
    return Level.VERIFY if valid or unknown else Level.ENCRYPT
