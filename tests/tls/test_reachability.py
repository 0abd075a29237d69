"""Whether a destination is known not to meet a requirement."""

from __future__ import annotations

import pytest

from gatepost.tls.levels import Dane, Level, Requirement, TlsVersion
from gatepost.tls.reachability import (
    CERTAIN_S,
    DAY_S,
    FORGOTTEN_S,
    NO_SIGHTS,
    HostSight,
    Sights,
    Unmet,
    sights_of,
    unmet,
)
from gatepost.tls.survey.knowledge import (
    AddressKnowledge,
    DomainKnowledge,
    HostKnowledge,
    MxOutcome,
)
from gatepost.tls.survey.model import CertificateVerdict, Verdict

NOW = 1_800_000_000.0
HOUR = 3_600.0
ENCRYPT = Requirement(Level.ENCRYPT)
VERIFY = Requirement(Level.VERIFY)
MODERN = Requirement(Level.ENCRYPT, TlsVersion.TLSv1_2)


def sight(level: Level, version: TlsVersion | None = None, ago: float = HOUR) -> HostSight:
    return HostSight("mx.example", level, version, NOW - ago)


PLAIN, TLS, GOOD = sight(Level.NONE), sight(Level.ENCRYPT), sight(Level.VERIFY)
OLD = sight(Level.ENCRYPT, TlsVersion.TLSv1_1)
NEVER = HostSight("mx.example")


@pytest.mark.parametrize(
    ("requirement", "hosts", "lack"),
    [
        (Requirement(Level.MAY), [PLAIN], None),
        (Requirement(Level.MAY, dane=Dane.OPPORTUNISTIC), [PLAIN], None),
        (ENCRYPT, [PLAIN], "no mail server of it does STARTTLS"),
        (ENCRYPT, [PLAIN, PLAIN], "no mail server of it does STARTTLS"),
        (VERIFY, [PLAIN], "no mail server of it does STARTTLS"),
        (VERIFY, [TLS, PLAIN], "no mail server of it has a certificate that is valid for its name"),
        (MODERN, [OLD, PLAIN], "no mail server of it does TLSv1.2"),
        # One that fits is enough: Postfix goes on to it.
        (ENCRYPT, [PLAIN, TLS], None),
        (VERIFY, [TLS, GOOD], None),
        (MODERN, [OLD, sight(Level.ENCRYPT, TlsVersion.TLSv1_3)], None),
        # A version that was not seen is not held against it.
        (MODERN, [TLS], None),
        # Names of the operator's own, and TLSA records, are not what the survey looks for.
        (Requirement(Level.VERIFY, match=frozenset({"a.example"})), [TLS], None),
        (Requirement(Level.VERIFY, dane=Dane.ONLY), [TLS], None),
        (Requirement(Level.VERIFY, dane=Dane.ONLY), [PLAIN], "no mail server of it does STARTTLS"),
        (ENCRYPT, [], None),
        (ENCRYPT, [NEVER], None),
    ],
)
def test_what_a_destination_lacks(
    requirement: Requirement, hosts: list[HostSight], lack: str | None
) -> None:
    found = unmet(requirement, Sights(tuple(hosts)), NOW)
    assert (None if found is None else found.why) == lack


@pytest.mark.parametrize(
    ("hosts", "certain"),
    [
        ([PLAIN], True),
        ([sight(Level.NONE, ago=CERTAIN_S - 1)], True),
        # Old, or one of two is not known: the client may try again.
        ([sight(Level.NONE, ago=CERTAIN_S)], False),
        ([PLAIN, sight(Level.NONE, ago=2 * DAY_S)], False),
        ([PLAIN, NEVER], False),
        ([PLAIN, sight(Level.VERIFY, ago=FORGOTTEN_S)], False),
        ([sight(Level.NONE, ago=FORGOTTEN_S)], None),
    ],
)
def test_how_certain_it_is(hosts: list[HostSight], certain: bool | None) -> None:  # noqa: FBT001
    found = unmet(ENCRYPT, Sights(tuple(hosts)), NOW)
    assert (None if found is None else found.certain) is certain


def test_a_delivery_by_tls_says_more_than_an_older_probe() -> None:
    assert unmet(ENCRYPT, Sights((PLAIN,), good_at=NOW - HOUR + 1), NOW) is None
    assert unmet(ENCRYPT, Sights((PLAIN,), good_at=NOW - HOUR - 1), NOW) is not None


@pytest.mark.parametrize(
    ("good_ago", "bad_ago", "found"),
    [
        (0.0, HOUR, True),
        (2 * HOUR, HOUR, True),
        (HOUR, 2 * HOUR, False),
        (0.0, FORGOTTEN_S, False),
        (0.0, 0.0, False),
    ],
)
def test_deliveries_alone_are_never_certain(
    good_ago: float,
    bad_ago: float,
    found: bool,  # noqa: FBT001
) -> None:
    sights = Sights((), NOW - good_ago if good_ago else 0.0, NOW - bad_ago if bad_ago else 0.0)
    expected = Unmet(
        False, "mail was last delivered or refused without it", NOW - bad_ago, "deliveries"
    )
    assert unmet(ENCRYPT, sights, NOW) == (expected if found else None)


def test_the_text_names_domain_requirement_and_when_it_was_seen() -> None:
    found = Unmet(True, "no mail server of it does STARTTLS", NOW, "survey")
    assert found.text("dest.example", "profile private") == (
        "dest.example does not offer the TLS that is asked for (profile private): no mail server "
        "of it does STARTTLS, last seen 2027-01-15 08:00 UTC by survey"
    )
    assert "last seen" not in Unmet(False, "why", 0.0, "published").text("d.example", "x")


def address(
    settled: Verdict | None,
    certificate: CertificateVerdict | None = None,
    version: str = "",
    at: float = NOW,
) -> AddressKnowledge:
    tls = settled is Verdict.TLS
    return AddressKnowledge(
        "192.0.2.1",
        verdict=Verdict.UNREACHABLE,
        settled=settled,
        tls_at=at if tls else 0.0,
        other_at=0.0 if tls or settled is None else at,
        certificate=certificate,
        version=version,
    )


VALID, EXPIRED = CertificateVerdict.VALID, CertificateVerdict.EXPIRED


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ([], NEVER),
        ([address(None)], NEVER),
        ([address(Verdict.NONE)], HostSight("mx.example", Level.NONE, None, NOW)),
        ([address(Verdict.STRIPPED)], HostSight("mx.example", Level.NONE, None, NOW)),
        (
            [address(Verdict.TLS, EXPIRED, "TLSv1.2")],
            HostSight("mx.example", Level.ENCRYPT, TlsVersion.TLSv1_2, NOW),
        ),
        (
            [address(Verdict.TLS, VALID, "TLSv1.3")],
            HostSight("mx.example", Level.VERIFY, TlsVersion.TLSv1_3, NOW),
        ),
        # The best of its addresses, and the latest sight.
        (
            [address(Verdict.NONE, at=NOW), address(Verdict.TLS, VALID, "TLSv1.3", at=NOW - 9)],
            HostSight("mx.example", Level.VERIFY, TlsVersion.TLSv1_3, NOW),
        ),
        (
            [address(Verdict.TLS, CertificateVerdict.NOT_ASKED, "?")],
            HostSight("mx.example", Level.VERIFY, None, NOW),
        ),
    ],
)
def test_what_the_survey_knows_of_a_host(
    addresses: list[AddressKnowledge], expected: HostSight
) -> None:
    host = HostKnowledge("mx.example", 10, tuple(addresses))
    domain = DomainKnowledge("d.example", MxOutcome.FOUND, NOW, NOW, (host,))
    assert sights_of(domain, 1.0, 2.0) == Sights((expected,), 1.0, 2.0)
    assert sights_of(None) is NO_SIGHTS
