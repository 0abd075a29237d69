"""What the probes of a period prove, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatepost.tls.survey.knowledge import (
    AddressKnowledge,
    DomainKnowledge,
    Evidence,
    HostKnowledge,
    MxOutcome,
    Standing,
    evidence_of,
)
from gatepost.tls.survey.model import CertificateVerdict, Verdict

SINCE = 1000.0


def offers(tls_at: float = 2000.0, streak: int = 5, **fields: object) -> AddressKnowledge:
    return AddressKnowledge(
        "192.0.2.1", Verdict.TLS, tls_at=tls_at, tls_since=1500.0, tls_streak=streak,
        reached_at=tls_at, settled=Verdict.TLS, **fields,  # type: ignore[arg-type]
    )  # fmt: skip


VALID = {
    "certificate": CertificateVerdict.VALID, "certificate_streak": 3, "certificate_since": 1500.0,
}  # fmt: skip
PLAIN = AddressKnowledge(
    "192.0.2.2", Verdict.NONE, other_at=1800.0, reached_at=1800.0, settled=Verdict.NONE
)
BUSY = AddressKnowledge("192.0.2.3", Verdict.UNKNOWN, "greeting: 421 busy", reached_at=1900.0)
DEAD = AddressKnowledge("192.0.2.4", Verdict.UNREACHABLE, last_at=1900.0)
LONG_AGO = AddressKnowledge("192.0.2.5", Verdict.UNREACHABLE, last_at=1900.0, tls_at=10.0)
# Found in DNS and never probed: opted out, one too many of its provider, or the run was killed.
UNASKED = AddressKnowledge("8.8.8.8")
ASKED_LONG_AGO = AddressKnowledge("8.8.4.4", Verdict.TLS, last_at=900.0, tls_at=900.0)
DUMMY = AddressKnowledge("127.0.0.1")


def evidence(*addresses: AddressKnowledge, resolved_at: float = 1100.0) -> Evidence:
    hosts = tuple(HostKnowledge(f"mx{n}.a.example", n, (a,)) for n, a in enumerate(addresses))
    known = DomainKnowledge("a.example", MxOutcome.FOUND, resolved_at, 0.0, hosts)
    return evidence_of(known, SINCE)


@pytest.mark.parametrize(
    ("addresses", "standing"),
    [
        ((offers(),), Standing.ALWAYS),
        ((offers(), DEAD), Standing.ALWAYS),
        ((offers(), LONG_AGO), Standing.ALWAYS),
        ((offers(), PLAIN), Standing.NOT),
        ((offers(), BUSY), Standing.UNDECIDED),
        ((PLAIN, BUSY), Standing.NOT),
        ((offers(), UNASKED), Standing.UNDECIDED),
        ((offers(), ASKED_LONG_AGO), Standing.UNDECIDED),
        ((offers(), DUMMY), Standing.ALWAYS),
        ((PLAIN, UNASKED), Standing.NOT),
        ((UNASKED,), Standing.NOTHING),
        ((DEAD,), Standing.NOTHING),
        ((LONG_AGO,), Standing.NOTHING),
        ((offers(tls_at=10.0),), Standing.NOTHING),
        # It offers TLS now, and did not earlier in the period.
        ((offers(other_at=1200.0, previous=Verdict.NONE),), Standing.NOT),
        ((offers(other_at=900.0, previous=Verdict.NONE),), Standing.ALWAYS),
        ((offers(version="TLSv1.2"),), Standing.ALWAYS),
        # The survey speaks versions that Postfix's OpenSSL may refuse.
        ((offers(version="TLSv1.3"), offers(version="TLSv1.1")), Standing.NOT),
        ((), Standing.NOTHING),
    ],
)
def test_standing(addresses: tuple[AddressKnowledge, ...], standing: Standing) -> None:
    found = evidence(*addresses)
    assert found.standing is standing
    assert bool(found.why) is (standing is not Standing.ALWAYS)


def test_addresses_that_were_probed_stand_for_the_others_of_their_host() -> None:
    probed = offers(last_at=2000.0)
    host = HostKnowledge("mx.a.example", 1, (probed, UNASKED))
    known = DomainKnowledge("a.example", MxOutcome.FOUND, 1100.0, 0.0, (host,))
    assert evidence_of(known, SINCE).standing is Standing.ALWAYS
    other = HostKnowledge("mx2.a.example", 2, (UNASKED, DUMMY))
    found = evidence_of(replace(known, hosts=(host, other)), SINCE)
    assert (found.standing, found.why) == (
        Standing.UNDECIDED, "mx2.a.example: not probed in the period",
    )  # fmt: skip


def test_the_weakest_address_counts() -> None:
    found = evidence(offers(), offers(tls_at=1700.0, streak=2))
    assert (found.streak, found.last_at, found.addresses) == (2, 1700.0, 2)


@pytest.mark.parametrize(
    ("fields", "verified"),
    [
        (VALID, True),
        ({**VALID, "certificate_bad_at": 1200.0}, False),
        ({**VALID, "certificate_bad_at": 900.0}, True),
        ({"certificate": CertificateVerdict.EXPIRED}, False),
        # Proven for this host now, but never asked for it by name: nothing about the period.
        ({"certificate": CertificateVerdict.VALID}, False),
        ({}, False),
    ],
)
def test_verified_needs_every_certificate_in_every_probe(
    *, fields: dict[str, object], verified: bool
) -> None:
    assert evidence(offers(**fields)).verified is verified  # type: ignore[arg-type]
    assert not evidence(offers(**fields), offers()).verified  # type: ignore[arg-type]


def test_what_stands_against_it_is_named() -> None:
    found = evidence(offers(), PLAIN)
    assert found.why == "mx1.a.example[192.0.2.2]: none on 1970-01-01"


def test_a_list_of_mail_exchangers_from_before_proves_nothing() -> None:
    assert evidence(offers(), resolved_at=10.0).standing is Standing.NOTHING
    assert evidence_of(None, SINCE).standing is Standing.NOTHING
