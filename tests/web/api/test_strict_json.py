"""JSON of a hostile client: one meaning, or none, at a cost that its length suggests."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.web.api.strict_json import MAX_DEPTH, NotStrict, read_json


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"", "it is no JSON at character 0"),
        (b"{", "it is no JSON at character 1"),
        (b'{"a": 1,}', "it is no JSON"),
        (b"\xff", "octet 0 is not UTF-8"),
        (b'{"a": 1, "b": 2, "a": 1}', "the name 'a' stands twice in an object"),
        (b'{"x": {"a": 1, "a": 1}}', "the name 'a' stands twice in an object"),
        (b"NaN", "NaN is no value of JSON"),
        (b"[-Infinity]", "-Infinity is no value of JSON"),
        (b"1e999", "a number is too large"),
        (b"1" * 20, "a number is too large"),
        (b"-" + b"1" * 5000, "a number is too large"),
        (b'"\\ud800"', "a text holds the character U+D800"),
        (b'{"\\udfff": 1}', "a text holds the character U+DFFF"),
        (b'"\\u0000"', "a text holds the character U+0000"),
        (b'["\\u001b[31m"]', "a text holds the character U+001B"),
        (b'"\\u2028"', "a text holds the character U+2028"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "it is nested more than 16 levels deep"),
        (b'{"a":' * 60_000, "it is nested more than 16 levels deep"),
        (b"[" * 65_536, "it is nested more than 16 levels deep"),
    ],
)
def test_what_is_refused(octets: bytes, said: str) -> None:
    with pytest.raises(NotStrict) as caught:
        read_json(octets)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(10**17),
        1.5,
        "a\tb",
        "\U0001f642",
        {"a": [1, {"b": "[[[[[[[[[[[[[[[[[[[[[["}]},
        json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH),
        '"' * 100,
        "\\" * 101,
    ],
)
def test_what_is_read(value: object) -> None:
    assert read_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "octets",
    [
        b'"' + b'\\"' * 32_000,
        b'"' * 65_535,
        b'["' + b"\\" * 65_000,
        b"{" + b'"\\\\' * 20_000,
        b'"' + b"\\" * 65_535,
    ],
)
def test_no_text_costs_the_square_of_its_length(octets: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(NotStrict):
        read_json(octets)
    # The square of it would take ten seconds.
    assert time.process_time() - begun < 1.0


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_whatever_comes_has_one_end(octets: bytes) -> None:
    try:
        value = read_json(octets)
    except NotStrict:
        return
    assert json.loads(octets) == value
