"""What is in a certificate, what OpenSSL says of its chain, and what that makes it worth."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import MalformedMessage
from gatepost.tls.survey.certificates import (
    judge,
    judge_for_another,
    names_match,
    read_certificate,
)
from gatepost.tls.survey.model import CertificateVerdict, ChainStatus
from gatepost.tls.survey.trust import Trust
from lab.ca import Authority, Oddity

HOST = "mx.a.example"
NOW = 1_800_000_000.0
Issue = Callable[..., tuple[bytes, ...]]


@pytest.mark.parametrize(
    ("names", "options", "code", "worth"),
    [
        ((), {}, 0, "valid"),
        (("*.a.example",), {}, 0, "valid"),
        (("mx.b.example",), {}, 0, "wrong-name"),
        (("mx.b.example", HOST), {}, 0, "valid"),
        ((), {"oddity": Oddity.EXPIRED}, 10, "expired"),
        ((), {"oddity": Oddity.NOT_YET}, 9, "not-yet-valid"),
        ((), {"oddity": Oddity.INTERMEDIATE}, 0, "valid"),
        ((), {"oddity": Oddity.INCOMPLETE}, 20, "untrusted"),
        # Postfix, at security level 0, takes it; that the key is weak is told apart from that.
        ((), {"oddity": Oddity.WEAK_KEY}, 0, "valid"),
        ((), {"alone": True}, 18, "self-signed"),
        (("mx.b.example",), {"oddity": Oddity.EXPIRED}, 10, "expired"),
    ],
)
def test_worth(
    issue: Issue, trust: Trust, names: tuple[str, ...], options: dict[str, object], code: int,
    worth: str,
) -> None:  # fmt: skip
    chain = issue(*names, **options)
    status = trust.judge(chain, HOST, NOW)
    assert status.code == code
    assert status.trusted is (code == 0)
    assert judge(read_certificate(chain), status, HOST) == worth


def test_facts(issue: Issue) -> None:
    chain = issue("mx.a.example", "MX2.a.example")
    facts = read_certificate(chain)
    assert facts.sha256 == hashlib.sha256(chain[0]).hexdigest()
    assert facts.names == ("mx.a.example", "mx2.a.example")
    assert (facts.key, facts.key_bits, facts.weak_key) == ("EC", 256, False)
    assert (facts.issuer, facts.self_issued, facts.chain_length) == ("CN=Lab CA", False, 2)
    assert facts.not_before < datetime.datetime.now(datetime.UTC).timestamp() < facts.not_after
    weak = read_certificate(issue(oddity=Oddity.WEAK_KEY))
    assert (weak.key, weak.key_bits, weak.weak_key) == ("RSA", 1024, True)


def test_the_common_name_counts_only_without_dns_names() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "MX.a.example")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, None)
    )  # fmt: skip
    facts = read_certificate([certificate.public_bytes(Encoding.DER)])
    assert facts.names == (HOST,)
    assert (facts.key, facts.key_bits, facts.self_issued) == ("Ed25519", 256, True)


@pytest.mark.parametrize(
    ("name", "host", "fits"),
    [
        ("mx.a.example", "mx.a.example", True),
        ("*.a.example", "mx.a.example", True),
        ("*.a.example", "a.example", False),
        ("*.a.example", "mx.b.a.example", False),
        ("a.example", "mx.a.example", False),
        ("*.", "example", False),
        ("", "mx.a.example", False),
    ],
)
def test_names(name: str, host: str, *, fits: bool) -> None:
    assert names_match([name], host) is fits


def test_what_is_not_proven_for_another_host_is_not_said() -> None:
    trusted, untrusted = ChainStatus(0), ChainStatus(20, "no issuer")
    assert judge_for_another([HOST], trusted, HOST) is CertificateVerdict.VALID
    assert judge_for_another(["x"], trusted, HOST) is CertificateVerdict.NOT_ASKED
    assert judge_for_another([HOST], untrusted, HOST) is CertificateVerdict.NOT_ASKED


@pytest.mark.fuzz
@given(st.binary(max_size=300))
def test_octets_that_are_no_certificate_are_refused(octets: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_certificate([octets])


@pytest.fixture(scope="module")
def some_certificate(issue: Issue) -> bytes:
    return issue()[0]


@pytest.mark.fuzz
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_certificate_with_a_flipped_octet_is_read_or_refused_and_never_trusted(
    some_certificate: bytes, trust: Trust, at: int, flip: int
) -> None:
    octets = bytearray(some_certificate)
    # What is signed; in the encoding of the signature itself, one bit has no meaning.
    signed = 4 + 4 + int.from_bytes(octets[6:8], "big")
    octets[at % signed] ^= flip
    assert not trust.judge([bytes(octets)], HOST, NOW).trusted
    with contextlib.suppress(MalformedMessage):
        read_certificate([bytes(octets)])


def test_openssl_and_the_strict_verifier_never_differ_where_the_latter_says_yes(
    authority: Authority, issue: Issue
) -> None:
    chains = [issue(oddity=oddity) for oddity in Oddity if oddity is not Oddity.HUGE_CHAIN]
    chains += [issue(alone=True), issue("mx.b.example"), issue("*.a.example"), issue()[:1]]
    both = Trust(str(authority.ca_file))
    openssl = Trust(str(authority.ca_file))
    openssl._strict = None
    passed = 0
    for chain in chains:
        if both._passes_strictly(chain, HOST):
            passed += 1
            assert openssl.judge(chain, HOST, NOW).trusted
        assert both.judge(chain, HOST, NOW) == openssl.judge(chain, HOST, NOW)
    assert passed >= 3


def test_a_verdict_is_kept_for_an_hour(
    authority: Authority, issue: Issue, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust = Trust(str(authority.ca_file))
    chain, asked = issue(alone=True), []
    monkeypatch.setattr(
        "gatepost.tls.survey.trust._show",
        lambda *_: asked.append(1) or ChainStatus(18, "self-signed"),
    )
    for now in (NOW, NOW + 1, NOW + 3600):
        trust.judge(chain, HOST, now)
    assert len(asked) == 2


def test_a_directory_of_roots(issue: Issue, authority: Authority, tmp_path: Path) -> None:
    chain = issue(oddity=Oddity.INTERMEDIATE)
    assert not Trust(ca_path=str(tmp_path)).judge(chain, HOST, NOW).trusted
    (tmp_path / "root.pem").write_bytes(authority.ca_file.read_bytes())
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True)
    assert Trust(ca_path=str(tmp_path)).judge(chain, HOST, NOW).trusted


def test_nonsense_is_not_trusted(trust: Trust) -> None:
    for chain in ([b""], [b"x" * 1000], [b"x" * 200_000]):
        assert not trust.judge(chain, HOST, NOW).trusted


def test_anchored_needs_chain_and_name(issue: Issue, trust: Trust) -> None:
    chain = issue(oddity=Oddity.INTERMEDIATE)
    assert trust.anchored(chain, chain[1], HOST).trusted
    assert not trust.anchored(chain, chain[1], "mx.b.example").trusted
    other = issue(oddity=Oddity.INTERMEDIATE)
    assert not trust.anchored(chain, other[1], HOST).trusted
    assert not trust.anchored(chain, b"nonsense", HOST).trusted


def test_an_ed25519_chain_is_judged(trust: Trust) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, None)
    )  # fmt: skip
    assert trust.judge([certificate.public_bytes(Encoding.DER)], HOST, NOW).code == 18
