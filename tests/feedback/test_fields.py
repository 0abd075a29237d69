"""The blocks of fields in reports, as they are written and as they come."""

from __future__ import annotations

import pytest

from gatepost.errors import MalformedMessage
from gatepost.feedback.fields import MAX_BLOCKS, MAX_FIELD_CHARACTERS, field_blocks


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("", []),
        ("no field at all\n", []),
        ("A: 1\nB: 2\nA: 3", [{"a": ["1", "3"], "b": ["2"]}]),
        ("A: 1\n\n\n \nB: 2\n", [{"a": ["1"]}, {"b": ["2"]}]),
        ("A: 1\n  two\n\tthree", [{"a": ["1 two three"]}]),
        # Diagnostic texts are broken into lines without a blank before them.
        (
            "Diagnostic-Code: smtp; 550 no\nsuch user",
            [{"diagnostic-code": ["smtp; 550 no such user"]}],
        ),
        ("A: see\nhttps://example.org/x", [{"a": ["see https://example.org/x"]}]),
        ("A : 1\nB:\n 2", [{"a": ["1"], "b": ["2"]}]),
        ("A:", [{"a": [""]}]),
        ("text\nA: 1", [{"a": ["1"]}]),
        ("A: 1\nFrom a@b Mon Jan 11\nB: 2", [{"a": ["1"], "b": ["2"]}]),
    ],
)
def test_blocks(text: str, blocks: list[dict[str, list[str]]]) -> None:
    assert field_blocks(text) == blocks


def test_a_long_field_is_cut() -> None:
    (block,) = field_blocks("A: " + "x" * 10_000 + "\n y\nB: 2")
    assert len(block["a"][0]) == MAX_FIELD_CHARACTERS
    assert block["b"] == ["2"]
    (folded,) = field_blocks("A: 1\n" + (" " + "x" * 99 + "\n") * 200)
    assert MAX_FIELD_CHARACTERS - 100 < len(folded["a"][0]) <= MAX_FIELD_CHARACTERS


def test_as_many_blocks_as_the_limit_are_read_and_no_more() -> None:
    assert len(field_blocks("A: 1\n\n" * MAX_BLOCKS)) == MAX_BLOCKS
    with pytest.raises(MalformedMessage, match="blocks"):
        field_blocks("A: 1\n\n" * (MAX_BLOCKS + 1))
    with pytest.raises(MalformedMessage, match="fields"):
        field_blocks("A: 1\n" * 1001)
