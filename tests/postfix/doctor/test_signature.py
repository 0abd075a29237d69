"""Doctor on signatures: made with dkimpy, looked at as they leave."""

from __future__ import annotations

import base64

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gatepost.postfix.doctor import signature
from gatepost.postfix.doctor.findings import Severity

MESSAGE = b"""\
From: news@acme.example
To: you@example.org
Subject: hello
Feedback-ID: a:b:c:examplesp
List-Unsubscribe: <https://acme.example/u>
List-Unsubscribe-Post: List-Unsubscribe=One-Click

text
"""
BASE = [b"From", b"To", b"Subject"]
OURS = [b"Feedback-ID", b"List-Unsubscribe", b"List-Unsubscribe-Post"]


@pytest.fixture(scope="module")
def keys() -> tuple[bytes, bytes]:
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)


class Signer:
    """Signs, and publishes its key."""

    def __init__(self, keys: tuple[bytes, bytes]) -> None:
        self.private, self.record = keys

    def sign(self, message: bytes, headers: list[bytes]) -> bytes:
        made = dkim.sign(message, b"s1", b"acme.example", self.private, include_headers=headers)
        return made.replace(b"\r\n", b"\n") + message

    def txt(self, name: bytes, timeout: int = 5) -> bytes | None:
        del timeout
        return self.record if name == b"s1._domainkey.acme.example." else None


@pytest.fixture
def signer(keys: tuple[bytes, bytes]) -> Signer:
    return Signer(keys)


def test_a_signature_that_covers_everything(signer: Signer) -> None:
    assert list(signature.check(signer.sign(MESSAGE, BASE + OURS), signer.txt)) == []


def test_headers_that_no_signature_covers(signer: Signer) -> None:
    (finding,) = signature.check(signer.sign(MESSAGE, [*BASE, OURS[1]]), signer.txt)
    assert finding.severity is Severity.PROBLEM
    assert finding.what == "No valid DKIM signature covers Feedback-ID, List-Unsubscribe-Post."
    assert "SignHeaders *,+Feedback-ID,+List-Unsubscribe-Post" in finding.mend[0]


def test_of_two_signatures_one_that_covers_them_is_enough(signer: Signer) -> None:
    both = signer.sign(signer.sign(MESSAGE, BASE), BASE + OURS)
    assert list(signature.check(both, signer.txt)) == []


def test_a_header_that_is_not_there_need_not_be_covered(signer: Signer) -> None:
    plain = MESSAGE.replace(b"Feedback-ID: a:b:c:examplesp\n", b"")
    assert list(signature.check(signer.sign(plain, BASE + OURS[1:]), signer.txt)) == []


def test_a_message_without_a_signature() -> None:
    (finding,) = signature.check(MESSAGE)
    assert finding.what == "The message has no DKIM signature."
    assert finding.severity is Severity.PROBLEM


def test_a_message_changed_after_it_was_signed(signer: Signer) -> None:
    changed = signer.sign(MESSAGE, BASE + OURS).replace(b"c:examplesp", b"c:otheresp")
    (finding,) = signature.check(changed, signer.txt)
    assert finding.what.startswith("The DKIM signature of acme.example does not verify: ")


def test_a_signature_whose_key_is_not_published(signer: Signer) -> None:
    signed = signer.sign(MESSAGE, BASE + OURS)
    (finding,) = signature.check(signed, lambda _name, timeout=5: None)  # noqa: ARG005
    assert "does not verify" in finding.what


def test_a_signature_that_is_nonsense(signer: Signer) -> None:
    (finding,) = signature.check(b"DKIM-Signature: what\n" + MESSAGE, signer.txt)
    assert "The DKIM signature of ? does not verify" in finding.what
