"""`gatepost.postfix_version`: every form that ``mail_version`` takes, and their order."""

from __future__ import annotations

import pytest

from gatepost.errors import MalformedMessage
from gatepost.postfix_version import PostfixVersion, parse_version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("3.7.11", PostfixVersion(3, 7, 11)),
        ("3.11.6\n", PostfixVersion(3, 11, 6)),
        ("3.7", PostfixVersion(3, 7, 0)),
        ("3.12-20260821", PostfixVersion(3, 12, 0)),
        ("3.8-20221023-nonprod", PostfixVersion(3, 8, 0)),
        ("3.7.0-RC1", PostfixVersion(3, 7, 0)),
    ],
)
def test_every_form_of_mail_version(text: str, version: PostfixVersion) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize("text", ["", "postfix", "3", "3.", "3.7.x", "3.7.11 extra", "-3.7"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_version(text)


def test_versions_are_ordered_by_number_and_not_by_text() -> None:
    assert parse_version("3.7.11") < parse_version("3.10.0") < parse_version("3.11.6")


def test_a_version_prints_as_three_numbers() -> None:
    assert str(parse_version("3.10")) == "3.10.0"
