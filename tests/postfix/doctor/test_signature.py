"""Doctor on signatures: made with dkimpy, looked at as they leave."""

from __future__ import annotations

import base64
from email.parser import BytesHeaderParser
from email.policy import compat32

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

    def sign(self, message: bytes, headers: list[bytes], domain: bytes = b"acme.example") -> bytes:
        made = dkim.sign(message, b"s1", domain, self.private, include_headers=headers)
        return made.replace(b"\r\n", b"\n") + message

    def txt(self, name: bytes, timeout: int = 5) -> bytes | None:
        del timeout
        known = name in {b"s1._domainkey.acme.example.", b"s1._domainkey.esp.example."}
        return self.record if known else None


@pytest.fixture
def signer(keys: tuple[bytes, bytes]) -> Signer:
    return Signer(keys)


def test_a_signature_that_covers_everything(signer: Signer) -> None:
    assert list(signature.check(signer.sign(MESSAGE, BASE + OURS), signer.txt)) == []


def test_headers_that_no_signature_covers(signer: Signer) -> None:
    (finding,) = signature.check(signer.sign(MESSAGE, [*BASE, OURS[1]]), signer.txt)
    assert finding.severity is Severity.PROBLEM
    assert finding.what == "No valid DKIM signature covers Feedback-ID, List-Unsubscribe-Post."
    # All of them, as one line replaces another.
    names = ["Feedback-ID", "List-Unsubscribe", "List-Unsubscribe-Post"]
    names += ["CFBL-Address", "CFBL-Feedback-ID"]
    assert finding.mend[0].endswith(": SignHeaders *,+" + ",+".join(names))
    assert finding.mend[1].endswith(": OversignHeaders From," + ",".join(names))
    assert ":(o)Feedback-ID:(o)List-Unsubscribe:" in finding.mend[2]


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


# CFBL: who has to sign

ASKS = MESSAGE.replace(
    b"\n\n", b"\nCFBL-Address: fbl@fbl.esp.example; report=arf\nCFBL-Feedback-ID: abc\n\n", 1
)
CFBL = [b"CFBL-Address", b"CFBL-Feedback-ID"]
ALL = BASE + OURS + CFBL


def in_turn(signer: Signer, message: bytes, *made: tuple[bytes, list[bytes]]) -> list:
    for domain, headers in made:
        message = signer.sign(message, headers, domain)
    return list(signature.check(message, signer.txt))


def test_both_sign_both(signer: Signer) -> None:
    found = in_turn(signer, ASKS, (b"acme.example", ALL), (b"esp.example", ALL))
    # dkimpy writes names in lower case, which one reader does not take.
    (finding,) = found
    assert finding.severity is Severity.WARNING
    assert "does not write the names of the CFBL headers as" in finding.what


@pytest.mark.parametrize(
    ("made", "missing"),
    [
        ([(b"acme.example", ALL)], "of fbl.esp.example covers"),
        ([(b"esp.example", ALL)], "of acme.example covers"),
        (
            [(b"acme.example", ALL), (b"esp.example", BASE + OURS + CFBL[:1])],
            "of fbl.esp.example covers",
        ),
    ],
)
def test_one_alone_agrees_to_nothing(signer: Signer, made: list, missing: str) -> None:
    (finding,) = in_turn(signer, ASKS, *made)
    assert finding.severity is Severity.PROBLEM
    assert missing in finding.what
    lines = "\n".join(finding.mend)
    for line in (
        "MultipleSignatures yes",
        "*@acme.example acme.example",
        "* fbl.esp.example",
        "fbl.esp.example fbl.esp.example:SELECTOR:",
        "OversignHeaders From,Feedback-ID",
    ):
        assert line in lines


def test_a_tenant_that_signed_before_leaves_it_to_the_platform(signer: Signer) -> None:
    found = in_turn(signer, ASKS, (b"acme.example", BASE), (b"esp.example", ALL))
    assert [finding.severity for finding in found] == [Severity.WARNING]
    # Of its own signature in which the headers were, half a one is none.
    (finding,) = in_turn(signer, ASKS, (b"acme.example", [*BASE, CFBL[0]]), (b"esp.example", ALL))
    assert "of acme.example covers" in finding.what


def test_mail_of_the_platform_itself_needs_one_signature(signer: Signer) -> None:
    own = ASKS.replace(b"news@acme.example", b"news@esp.example")
    (finding,) = in_turn(signer, own, (b"esp.example", ALL))
    assert finding.severity is Severity.WARNING


@pytest.mark.parametrize(
    ("names", "count"), [(["From", "CFBL-Address", "CFBL-Feedback-ID"], 0), (["From"], 1)]
)
def test_names_as_they_are_written_are_best(names: list[str], count: int) -> None:
    headers = BytesHeaderParser(policy=compat32).parsebytes(ASKS)
    lower = tuple(name.decode().lower() for name in ALL)
    both = [
        signature.Signature("acme.example", (*names, *lower)),
        signature.Signature("esp.example", (*lower, "CFBL-Feedback-ID", "CFBL-Address")),
    ]
    assert len(list(signature._cfbl(headers, both))) == count


@pytest.mark.parametrize("author", [b"", b"From: undisclosed", b"From: a@acme.example; b"])
def test_without_an_author_nobody_has_to_agree(signer: Signer, author: bytes) -> None:
    odd = ASKS.replace(b"From: news@acme.example", author).lstrip()
    list(in_turn(signer, odd if author else b"To: x\n" + odd, (b"esp.example", ALL)))
