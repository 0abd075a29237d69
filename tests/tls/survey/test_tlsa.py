"""TLSA records against certificates (RFC 7672 §3.1, RFC 7671 §9)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gatepost.tls.dns_answer import Tlsa
from gatepost.tls.survey.model import DaneVerdict
from gatepost.tls.survey.tlsa import match
from gatepost.tls.survey.trust import Trust
from lab.ca import Oddity

HOST = "mx.a.example"
Issue = Callable[..., tuple[bytes, ...]]
DIGESTS = {
    0: bytes,
    1: lambda x: hashlib.sha256(x).digest(),
    2: lambda x: hashlib.sha512(x).digest(),
}
WRONG = b"\0" * 32


def record(usage: int, selector: int, matching: int, certificate: bytes) -> Tlsa:
    octets = certificate
    if selector:
        key = x509.load_der_x509_certificate(certificate).public_key()
        octets = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Tlsa(usage, selector, matching, DIGESTS[matching](octets))


@pytest.fixture
def verdict(trust: Trust) -> Callable[..., DaneVerdict]:
    def verdict(chain: tuple[bytes, ...], *records: Tlsa) -> DaneVerdict:
        return match(records, chain, lambda anchor: trust.anchored(chain, anchor, HOST))

    return verdict


@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize("selector", [0, 1])
def test_every_form_of_a_record(
    issue: Issue, verdict: Callable[..., DaneVerdict], selector: int, matching: int
) -> None:
    chain = issue(oddity=Oddity.INTERMEDIATE)
    assert verdict(chain, record(3, selector, matching, chain[0])) == "match"
    assert verdict(chain, record(2, selector, matching, chain[1])) == "match"
    # A record of the one usage is none of the other.
    assert verdict(chain, record(2, selector, matching, chain[0])) == "mismatch"
    assert verdict(chain, record(3, selector, matching, chain[1])) == "mismatch"


def test_dane_ee_looks_at_neither_names_nor_dates(
    issue: Issue, verdict: Callable[..., DaneVerdict]
) -> None:
    for chain in (issue("mx.b.example", oddity=Oddity.EXPIRED), issue("mx.b.example", alone=True)):
        assert verdict(chain, record(3, 1, 1, chain[0])) == "match"


def test_dane_ta_looks_at_both(issue: Issue, verdict: Callable[..., DaneVerdict]) -> None:
    expired = issue(oddity=Oddity.EXPIRED)
    assert verdict(expired, record(2, 0, 1, expired[1])) == "mismatch"
    elsewhere = issue("mx.b.example")
    assert verdict(elsewhere, record(2, 0, 1, elsewhere[1])) == "mismatch"


def test_an_anchor_in_dns_need_not_be_sent(
    issue: Issue, verdict: Callable[..., DaneVerdict]
) -> None:
    chain = issue()
    assert verdict(chain[:1], record(2, 0, 0, chain[1])) == "match"
    assert verdict(chain[:1], record(2, 0, 1, chain[1])) == "mismatch"


def test_one_fitting_record_is_enough(issue: Issue, verdict: Callable[..., DaneVerdict]) -> None:
    chain = issue()
    assert verdict(chain, Tlsa(3, 1, 1, WRONG), record(3, 1, 1, chain[0])) == "match"
    assert verdict(chain, Tlsa(3, 1, 1, WRONG)) == "mismatch"


def test_a_weaker_digest_counts_only_without_a_stronger_one(
    issue: Issue, verdict: Callable[..., DaneVerdict]
) -> None:
    chain = issue()
    stronger = Tlsa(3, 1, 2, b"\0" * 64)
    assert verdict(chain, record(3, 1, 1, chain[0]), stronger) == "mismatch"
    assert verdict(chain, record(3, 1, 0, chain[0]), stronger) == "match"
    assert verdict(chain, record(3, 0, 1, chain[0]), stronger) == "match"


def test_none_and_unusable(issue: Issue, verdict: Callable[..., DaneVerdict]) -> None:
    chain = issue()
    assert verdict(chain) == "none"
    for unusable in (record(1, 1, 1, chain[0]), Tlsa(3, 2, 1, WRONG), Tlsa(3, 1, 1, b"short")):
        assert verdict(chain, unusable) == "unusable"


def test_a_server_without_a_certificate_fits_nothing(
    issue: Issue, verdict: Callable[..., DaneVerdict]
) -> None:
    assert verdict((), record(3, 1, 1, issue()[0])) == "mismatch"
    assert verdict((b"nonsense",), record(3, 1, 1, issue()[0])) == "mismatch"
