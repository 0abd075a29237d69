"""Feedback-ID as Gmail wants it: see the head of `gatepost.feedback.feedback_id`."""

from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gatepost.feedback.feedback_id import (
    MAX_LABEL_CHARACTERS,
    encode_label,
    format_feedback_id,
    label_problem,
)

SENDER_ID = "examplesp"


def feedback_id(campaign: str | None = None, mail_type: str | None = None) -> str:
    return format_feedback_id(
        campaign=campaign, mail_type=mail_type, tenant_id="acme", sender_id=SENDER_ID
    )


@pytest.mark.parametrize(
    ("campaign", "mail_type", "value"),
    [
        ("spring", "news", "cspring:mnews:tacme:examplesp"),
        ("spring", None, "cspring::tacme:examplesp"),
        (None, "news", "mnews:tacme:examplesp"),
        (None, None, "tacme:examplesp"),
        ("", "  ", "tacme:examplesp"),
        ("Spring Sale", None, "cSpring%20Sale::tacme:examplesp"),
        ("  Spring\n\tSale ", None, "cSpring%20Sale::tacme:examplesp"),
        ("a:b", None, "ca%3Ab::tacme:examplesp"),
        ("100%", None, "c100%25::tacme:examplesp"),
        ("Frühling", None, "cFr%C3%BChling::tacme:examplesp"),
        ("\udcfc", None, "c%FC::tacme:examplesp"),
        ("a_b.c-d", None, "ca_b.c-d::tacme:examplesp"),
        ("\x00\x7f", None, "c%00%7F::tacme:examplesp"),
        # Gmail adds up each value by itself: the prefixes keep the kinds apart.
        ("acme", "acme", "cacme:macme:tacme:examplesp"),
        # What identifies a recipient or a message is left out.
        ("user@example.org", "news", "mnews:tacme:examplesp"),
        ("news", "user@example.org", "cnews::tacme:examplesp"),
        (str(uuid.UUID(int=7)), "news", "mnews:tacme:examplesp"),
    ],
)
def test_feedback_id(campaign: str | None, mail_type: str | None, value: str) -> None:
    assert feedback_id(campaign, mail_type) == value


def test_a_label_that_would_count_for_the_whole_platform_is_left_out() -> None:
    value = format_feedback_id(
        campaign="ampaign", mail_type="x", tenant_id="t", sender_id="campaign"
    )
    assert value == "mx:tt:campaign"
    value = format_feedback_id(campaign="x", mail_type="ailer", tenant_id="t", sender_id="mailer")
    assert value == "cx::tt:mailer"


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        ("spring", None),
        ("spring-2026-11-24", None),
        ("20261124", None),
        ("123456789012", "it looks different for every message"),
        ("order-1234567890123", "it looks different for every message"),
        ("9f86d081884c7d659a2f", "it looks different for every message"),
        ("9F86D081884C7D659A2F", "it looks different for every message"),
        ("x" + str(uuid.UUID(int=2**127)) + "x", "it looks different for every message"),
        ("user@example.org", "it contains an address"),
    ],
)
def test_labels_with_many_values_are_useless(label: str, problem: str | None) -> None:
    found = label_problem(label)
    assert (found is None) == (problem is None)
    assert found is None or found.startswith(problem or "")


@pytest.mark.parametrize("length", [47, 48, 49, 191, 192, 193, 5000])
@pytest.mark.parametrize("character", ["a", " ", "ü", ":"])
def test_long_labels_are_cut_and_stay_apart(length: int, character: str) -> None:
    one = encode_label("x" + character * (length - 2) + "x")
    two = encode_label("x" + character * (length - 2) + "y")
    assert one != two
    assert len(one) <= MAX_LABEL_CHARACTERS
    if len(character) * length > MAX_LABEL_CHARACTERS:
        assert re.fullmatch(r"(?:[A-Za-z0-9._-]|%[0-9A-F]{2})+~[0-9a-f]{8}", one)


def test_a_label_of_48_characters_is_kept() -> None:
    assert encode_label("a" * 48) == "a" * 48
    assert encode_label("a" * 49) == "a" * 39 + "~" + encode_label("a" * 49)[-8:]


def test_no_octet_is_cut_in_two() -> None:
    for length in range(12, 40):
        encoded = encode_label("a" * length + "ü" * 20)
        assert re.fullmatch(r"(?:[a]|%[0-9A-F]{2})+~[0-9a-f]{8}", encoded), encoded


# What a header value can be after decoding: UTF-8, and other octets as surrogates.
VALUES = st.binary(max_size=300).map(lambda octets: octets.decode("utf-8", "surrogateescape"))


@pytest.mark.fuzz
@given(VALUES, VALUES)
def test_the_field_keeps_its_form_whatever_tenants_write(campaign: str, mail_type: str) -> None:
    value = feedback_id(campaign, mail_type)
    fields = value.split(":")
    assert fields[-2:] == ["tacme", SENDER_ID]
    assert 2 <= len(fields) <= 4
    # Counted from the right.
    by_place = dict(zip("Stmc", reversed(fields), strict=False))
    assert not by_place.get("m") or by_place["m"].startswith("m")
    assert not by_place.get("c") or by_place["c"].startswith("c")
    filled = [field for field in fields if field]
    assert len(set(filled)) == len(filled)
    assert re.fullmatch(r"[A-Za-z0-9._~%:-]+", value)
    assert len(value) < 900


@given(VALUES, VALUES)
def test_two_labels_stay_two(one: str, two: str) -> None:
    assume(one.strip() != two.strip())
    assert encode_label(one) != encode_label(two)


@given(VALUES)
def test_a_label_can_be_read_back_unless_it_was_cut(value: str) -> None:
    encoded = encode_label(value)
    if "~" not in encoded:
        octets = re.sub(
            rb"%([0-9A-F]{2})",
            lambda found: bytes.fromhex(found[1].decode()),
            encoded.encode(),
        )
        assert octets.decode("utf-8", "surrogateescape") == value.strip()
