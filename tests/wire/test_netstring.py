"""Netstrings: Bernstein's format, with a limit that is enforced before anything is kept."""

from __future__ import annotations

from functools import partial

import pytest

from gatepost.errors import LocalProtocolError, RemoteProtocolError
from gatepost.wire.netstring import NetstringDecoder, encode_netstring
from gatepost.wire.signals import CLOSED, NEED_DATA

REFUSED = "refused"
ten = partial(NetstringDecoder, 10)


@pytest.mark.parametrize(
    ("data", "strings"),
    [
        (b"", []),
        (b"0:,", [b""]),
        (b"5:hello,", [b"hello"]),
        (b"10:0123456789,", [b"0123456789"]),
        (b"1:a,0:,2:bc,", [b"a", b"", b"bc"]),
        (b"3:,:,,", [b",:,"]),
        (b"4:\xff\x00\n\xc3,", [b"\xff\x00\n\xc3"]),
    ],
)
def test_strings(feed, data, strings):
    assert feed(ten, data) == [*strings, NEED_DATA]
    assert feed(ten, data, eof=True) == [*strings, CLOSED]


@pytest.mark.parametrize("data", [b"5", b"5:", b"5:hell", b"5:hello", b"1:a,1"])
def test_incomplete(feed, data):
    assert feed(ten, data)[-1] is NEED_DATA
    assert feed(ten, data, eof=True)[-1] == REFUSED


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"11:", id="too long, before any data"),
        pytest.param(b"100", id="too many digits, before the colon"),
        pytest.param(b"99999999999999999999", id="longer than any number"),
        pytest.param(b"00:,", id="zero with a leading zero"),
        pytest.param(b"05:hello,", id="leading zero"),
        pytest.param(b":,", id="no length"),
        pytest.param(b"-1:,", id="sign"),
        pytest.param(b"+1:a,", id="plus"),
        pytest.param(b" 1:a,", id="blank"),
        pytest.param(b"1 :a,", id="blank behind"),
        pytest.param(b"1_0:", id="underscore"),
        pytest.param("\u0661:a,".encode(), id="another script's digit"),
        pytest.param(b"\xb2:aa,", id="a superscript, which is a digit to str"),
        pytest.param(b"5:hello;", id="wrong end"),
        pytest.param(b"5:helloo,", id="longer than announced"),
        pytest.param(b"GET / HTTP/1.0\r\n", id="another protocol"),
    ],
)
def test_refused(feed, data):
    assert feed(ten, data) == [REFUSED]


def test_refused_after_a_good_string(feed):
    assert feed(ten, b"1:a,x") == [b"a", REFUSED]


def test_an_error_stays():
    decoder = ten()
    decoder.receive_data(b"x")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="is no number"):
            decoder.next_event()
    decoder.receive_data(b"1:a,")
    with pytest.raises(RemoteProtocolError):
        decoder.next_event()


def test_an_over_long_string_is_named():
    decoder = ten()
    decoder.receive_data(b"11:")
    with pytest.raises(RemoteProtocolError, match="11 octets; at most 10"):
        decoder.next_event()


def test_no_data_after_the_end():
    decoder = ten()
    decoder.receive_data(b"")
    with pytest.raises(LocalProtocolError):
        decoder.receive_data(b"1:a,")


def test_idle():
    decoder = ten()
    assert decoder.idle
    decoder.receive_data(b"1")
    assert not decoder.idle
    decoder.receive_data(b":a,")
    decoder.next_event()
    assert decoder.idle


@pytest.mark.parametrize("data", [b"", b"a", b"0123456789", b"\xff,:\0"])
def test_encode(data):
    decoder = ten()
    decoder.receive_data(encode_netstring(data))
    assert decoder.next_event() == data
