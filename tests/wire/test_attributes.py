"""Attribute lists: what a value may hold, what a list may not, and where the limits are."""

from __future__ import annotations

from functools import partial

import pytest

from gatepost.errors import LocalProtocolError, RemoteProtocolError
from gatepost.wire.attributes import (
    MAX_ATTRIBUTES,
    MAX_LIST_OCTETS,
    AttributeDecoder,
    encode_attributes,
)
from gatepost.wire.signals import CLOSED, NEED_DATA

REFUSED = "refused"
small = partial(AttributeDecoder, 20, 3)


@pytest.mark.parametrize(
    ("data", "lists"),
    [
        (b"", []),
        (b"a=b\n\n", [{"a": "b"}]),
        (b"a=\n\n", [{"a": ""}]),
        (b"a=b\nc=d\n\n", [{"a": "b", "c": "d"}]),
        (b"a=b\n\nc=d\n\n", [{"a": "b"}, {"c": "d"}]),
        pytest.param(b"a=b=c==\n\n", [{"a": "b=c=="}], id="equals signs in a value"),
        pytest.param(b"a=1\nb=2\na=3\n\n", [{"a": "1", "b": "2"}], id="the first value counts"),
        pytest.param("a=é€😀\n\n".encode(), [{"a": "é€😀"}], id="UTF-8"),
        pytest.param(b"a=\xff\xc3\n\n", [{"a": "\udcff\udcc3"}], id="no UTF-8"),
        pytest.param("a=\u0085\u2028\v\f\x1c\r\n\n".encode(), None, id="no ends of lines"),
        pytest.param(b"=x\n\n", [{"": "x"}], id="empty name"),
        pytest.param(b" a = b \n\n", [{" a ": " b "}], id="blanks are kept"),
    ],
)
def test_lists(feed, data, lists):
    if lists is None:
        lists = [{"a": "\u0085\u2028\v\f\x1c\r"}]
    assert feed(AttributeDecoder, data) == [*lists, NEED_DATA]
    assert feed(AttributeDecoder, data, eof=True) == [*lists, CLOSED]


@pytest.mark.parametrize("data", [b"a", b"a=b", b"a=b\n", b"\n", b"a=b\n\nc", b"a=b\r\n\r\n"])
def test_incomplete(feed, data):
    assert feed(AttributeDecoder, data)[-1] is NEED_DATA
    assert feed(AttributeDecoder, data, eof=True)[-1] == REFUSED


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\n\n", id="empty list"),
        pytest.param(b"\na=b\n\n", id="empty line at the start"),
        pytest.param(b"a\n\n", id="no equals sign"),
        pytest.param(b"a=b\nc\nd=e\n\n", id="no equals sign in the middle"),
        pytest.param(b"a=\0\n\n", id="NUL in a value"),
        pytest.param(b"\0=a\n\n", id="NUL in a name"),
    ],
)
def test_refused(feed, data):
    assert feed(AttributeDecoder, data) == [REFUSED]


def test_a_line_without_equals_sign_is_shown():
    decoder = AttributeDecoder()
    decoder.receive_data(b"a=b\n" + b"\xff" * 100 + b"\nthis too\n\n")
    with pytest.raises(RemoteProtocolError) as error:
        decoder.next_event()
    assert str(error.value) == "attribute without '=': '" + r"\udcff" * 60 + "'"


def test_octets_of_a_list(feed):
    longest = b"a=" + b"x" * 16 + b"\n\n"
    assert len(longest) == 20
    assert feed(small, longest) == [{"a": "x" * 16}, NEED_DATA]
    assert feed(small, longest * 2) == [{"a": "x" * 16}] * 2 + [NEED_DATA]
    assert feed(small, b"a=" + b"x" * 17 + b"\n\n") == [REFUSED]
    assert feed(small, b"a=" + b"x" * 18) == [REFUSED]
    assert feed(small, b"a=" + b"x" * 17)[-1] is NEED_DATA


def test_attributes_of_a_list(feed):
    assert feed(small, b"a=1\nb=2\nc=3\n\n") == [{"a": "1", "b": "2", "c": "3"}, NEED_DATA]
    assert feed(small, b"a=1\nb=2\nc=3\nd=4\n\n") == [REFUSED]
    assert feed(small, b"a=1\na=1\na=1\na=1\n\n") == [REFUSED]


def test_limits_by_default():
    decoder = AttributeDecoder()
    decoder.receive_data(b"a=" + b"x" * (MAX_LIST_OCTETS - 4) + b"\n\n")
    assert len(decoder.next_event()["a"]) == MAX_LIST_OCTETS - 4
    decoder.receive_data(b"a=b\n" * MAX_ATTRIBUTES + b"\n")
    assert decoder.next_event() == {"a": "b"}
    decoder.receive_data(b"a=b\n" * (MAX_ATTRIBUTES + 1) + b"\n")
    with pytest.raises(RemoteProtocolError, match="more than 1024 attributes"):
        decoder.next_event()


def test_what_was_searched_is_not_searched_again():
    decoder = AttributeDecoder()
    for _ in range(10_000):
        decoder.receive_data(b"x")
        assert decoder.next_event() is NEED_DATA
    assert decoder._searched == 9_999


def test_an_error_stays():
    decoder = AttributeDecoder()
    decoder.receive_data(b"a\n\n")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            decoder.next_event()


def test_encode():
    attributes = {"request": "x", "a": "b=c", "e": "", "raw": "\udcff", "u": "é"}
    decoder = AttributeDecoder()
    data = encode_attributes(attributes)
    assert data == b"request=x\na=b=c\ne=\nraw=\xff\nu=\xc3\xa9\n\n"
    decoder.receive_data(data)
    assert decoder.next_event() == attributes


@pytest.mark.parametrize(
    "attributes",
    [{"": "x"}, {"a=b": "x"}, {"a\n": "x"}, {"a\0": "x"}, {"a": "x\ny"}, {"a": "\0"}],
)
def test_encode_refuses_what_would_be_read_otherwise(attributes):
    with pytest.raises(LocalProtocolError):
        encode_attributes(attributes)
