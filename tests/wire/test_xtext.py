"""Xtext of RFC 3461 §4."""

from __future__ import annotations

import pytest

from gatepost.errors import RemoteProtocolError
from gatepost.wire.xtext import decode_xtext, encode_xtext


@pytest.mark.parametrize(
    ("text", "xtext"),
    [
        ("", ""),
        ("user@example.org", "user@example.org"),
        ('"a b"@example.org', '"a+20b"@example.org'),
        ("user+tag@example.org", "user+2Btag@example.org"),
        ("a=b@example.org", "a+3Db@example.org"),
        ("é@example.org", "+C3+A9@example.org"),
        ("\udcff", "+FF"),
        ("\0\n\x7f", "+00+0A+7F"),
        ("!~", "!~"),
    ],
)
def test_both_ways(text, xtext):
    assert encode_xtext(text) == xtext
    assert decode_xtext(xtext) == text


@pytest.mark.parametrize(
    "xtext", ["a b", "+", "+4", "+4g", "+2b", "a=b", "é", "\n", "a\n", "\udcff"]
)
def test_refused(xtext):
    with pytest.raises(RemoteProtocolError, match="is not xtext"):
        decode_xtext(xtext)
