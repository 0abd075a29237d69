"""RFC 8461 §3.2 and §4.1: what a policy file may hold, and whom it names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import MalformedMessage
from gatepost.tls.mtasts.policy import (
    MAX_AGE_S,
    MAX_OCTETS,
    StsMode,
    StsPolicy,
    format_policy_text,
    parse_policy,
)

GOOD = b"version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmax_age: 604800\n"
POLICY = StsPolicy(StsMode.ENFORCE, 604_800, ("mail.example.com", "*.example.net"))


@pytest.mark.parametrize(
    "octets",
    [
        GOOD,
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.rstrip(b"\n"),
        GOOD + b"\n\n",
        GOOD.replace(b": ", b":"),
        GOOD.replace(b"STSv1\n", b"STSv1 \t\n"),
        # Unknown keys are ignored, and so are repeated ones (§3.2).
        GOOD + b"comment: {} = anything\n",
        GOOD + b"mode: none\nmax_age: 1\nversion: STSv2\n",
        GOOD + b"mx: mail.example.com\n",
        GOOD.replace(b"mail.example", b"MAIL.Example"),
        GOOD + "remark: grüße\n".encode(),
    ],
)
def test_a_policy_in_every_shape(octets: bytes) -> None:
    assert parse_policy(octets) == POLICY


@pytest.mark.parametrize(
    ("octets", "problem"),
    [
        (b"", "no version"),
        (b"<html>", "is not key: value"),
        (GOOD + b"\n\nmode: enforce x\nx", "is not key: value"),
        (GOOD.replace(b"version: STSv1\n", b""), "no version"),
        (GOOD.replace(b"STSv1", b"STSv2"), "no version"),
        (GOOD.replace(b"enforce", b"Enforce"), "mode 'Enforce' is not"),
        (GOOD.replace(b"mode: enforce\n", b""), "mode '' is not"),
        (GOOD.replace(b"max_age: 604800\n", b""), "max_age"),
        (GOOD.replace(b"604800", b"-1"), "max_age"),
        (GOOD.replace(b"604800", b"12345678901"), "max_age"),
        (GOOD.replace(b"604800", "٦".encode()), "max_age"),
        (b"version: STSv1\nmode: enforce\nmax_age: 1\n", "without mx"),
        (b"version: STSv1\nmode: testing\nmax_age: 1\n", "without mx"),
        (GOOD.replace(b"mail.example.com", b""), "is not a domain name"),
        (GOOD.replace(b"mail.example.com", b"*"), "is not a domain name"),
        (GOOD.replace(b"mail.example.com", b"a.*.example.com"), "is not a domain name"),
        (GOOD.replace(b"mail.example.com", b"a:b"), "is not a domain name"),
        (GOOD.replace(b"mail.example.com", b"a, b"), "is not a domain name"),
        (GOOD.replace(b"mail.example.com", b"a } b"), "is not a domain name"),
        (GOOD.replace(b"mail.example.com", "mäil.example".encode()), "is not in A-labels"),
        (GOOD.replace(b"version", b"\xff"), "not UTF-8"),
        (GOOD.replace(b"version:", b"version :"), "is not key: value"),
        (GOOD + b"x: " + b"y" * MAX_OCTETS, "more than 65536 octets"),
        (GOOD + b"mx: a.example\n" * 1_001, "more than 1000 mx"),
    ],
)
def test_a_bad_policy_is_named(octets: bytes, problem: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        parse_policy(octets)
    assert problem in str(caught.value)


def test_mode_none_needs_no_mx() -> None:
    assert parse_policy(b"version: STSv1\nmode: none\nmax_age: 0") == StsPolicy(StsMode.NONE, 0)


def test_an_age_beyond_a_year_counts_as_a_year() -> None:
    assert parse_policy(GOOD.replace(b"604800", b"9999999999")).max_age_s == MAX_AGE_S


@pytest.mark.parametrize(
    ("pattern", "host", "named"),
    [
        ("mail.example.com", "mail.example.com", True),
        ("mail.example.com", "a.mail.example.com", False),
        ("*.example.com", "mail.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.b.example.com", False),
        ("*.example.com", "mailexample.com", False),
        ("example.com", "mail.example.com", False),
        ("*.com", "example.com", True),
    ],
)
def test_whom_a_pattern_names(pattern: str, host: str, named: bool) -> None:  # noqa: FBT001
    assert StsPolicy(StsMode.ENFORCE, 1, (pattern,)).names(host) is named


@given(st.binary(max_size=300) | st.binary(max_size=60).map(GOOD.__add__))
def test_any_octets_are_a_policy_or_malformed(octets: bytes) -> None:
    try:
        policy = parse_policy(octets)
    except MalformedMessage:
        return
    assert parse_policy(format_policy_text(policy).encode()) == policy
    assert all(
        set(pattern) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.*")
        for pattern in policy.patterns
    )
