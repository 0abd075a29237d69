"""What DKIM signatures cover, read from whatever is in their fields."""

from __future__ import annotations

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from gatepost.feedback.signed import covered_fields


@pytest.mark.parametrize(
    ("signature", "names"),
    [
        ("v=1; d=a.example; h=From:To:Feedback-ID; b=x", {"from", "to", "feedback-id"}),
        ("h=from : to\r\n\t:FEEDBACK-id ;d=a.example", {"from", "to", "feedback-id"}),
        ("d=a.example; h=From:\r\n List-Unsubscribe:\r\n\t", {"from", "list-unsubscribe"}),
        # Named twice: it covers the absence of a second one.
        ("d=a.example;h=from:from:cfbl-address:cfbl-address", {"from", "cfbl-address"}),
        ("d=a.example; bh=from:to; H=to; b=h=from", set()),
        ("d=a.example", set()),
        ("h=", set()),
        ("h", set()),
        ("", set()),
        (";;==;h==", {"="}),
    ],
)
def test_names(signature: str, names: set[str]) -> None:
    assert set(covered_fields([signature])) == names


def test_who_signed() -> None:
    signatures = ["h=from:to; d=one.example", "d=\r\n Two.example ; h=to:subject", "h=date"]
    assert covered_fields(["d=<b>.example\udcff; h=date"]) == {"date": ""}
    assert covered_fields(signatures) == {
        "from": "one.example",
        "to": "one.example",
        "subject": "two.example",
        "date": "",
    }


def test_no_signature_covers_nothing() -> None:
    assert covered_fields([]) == {}


@pytest.mark.fuzz
@given(st.lists(st.text("h=:;d \t\r\n\0Ab-\udcff", max_size=60) | st.text(), max_size=5))
def test_whatever_comes(signatures: list[str]) -> None:
    covered = covered_fields(signatures)
    assert all(name == name.lower().strip(" \t\r\n") and ":" not in name for name in covered)
    assert all(len(domain) <= 255 and domain.isascii() for domain in covered.values())


def test_bounds() -> None:
    covered = covered_fields(["d=a.example"] * 20 + ["h=date"])
    assert covered == {}
    assert covered_fields(["x=" + "y" * 8192 + ";h=date"]) == {}


def test_what_a_signer_writes() -> None:
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    message = b"From: a@a.example\r\nSubject: s\r\nList-Unsubscribe: <https://x/>\r\n\r\nt\r\n"
    made = dkim.sign(
        message,
        b"s",
        b"a.example",
        key,
        include_headers=[b"From", b"From", b"Subject", b"List-Unsubscribe", b"Feedback-ID"] * 4,
    )
    value = made.decode().partition(":")[2]
    assert "\r\n" in value.strip()
    assert covered_fields([value]) == dict.fromkeys(
        ["from", "subject", "list-unsubscribe", "feedback-id"], "a.example"
    )
