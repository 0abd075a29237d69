"""The socketmap codec; tests/dialogs/socketmap has the conversations."""

from __future__ import annotations

import pytest

from gatepost.errors import LocalProtocolError
from gatepost.wire.netstring import encode_netstring
from gatepost.wire.signals import NEED_DATA
from gatepost.wire.socketmap import (
    MAX_REPLY_OCTETS,
    MAX_REQUEST_OCTETS,
    NotFound,
    Ok,
    Perm,
    Request,
    SocketmapServer,
    Temp,
    Timeout,
)

REFUSED = "refused"


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("transport a@example.org", Request("transport", "a@example.org")),
        ("tls-bank [mx.example.org]:587", Request("tls-bank", "[mx.example.org]:587")),
        ("m key with  blanks ", Request("m", "key with  blanks ")),
        ("m ", Request("m", "")),
        ("m <>", Request("m", "<>")),
        ("m MiXed.Example", Request("m", "MiXed.Example")),
        ("m gr\u00fc\u00dfe@example.org", Request("m", "gr\u00fc\u00dfe@example.org")),
        ("m \udcff\udcc3", Request("m", "\udcff\udcc3")),
    ],
)
def test_requests(feed, text, request_):
    data = encode_netstring(text.encode("utf-8", "surrogateescape"))
    assert feed(SocketmapServer, data, reply=NotFound()) == [request_, NEED_DATA]
    assert feed(SocketmapServer, data * 3, reply=NotFound()) == [request_] * 3 + [NEED_DATA]


@pytest.mark.parametrize("text", ["", " ", "transport", " key"])
def test_no_map_name(feed, text):
    assert feed(SocketmapServer, encode_netstring(text.encode())) == [REFUSED]


def test_longest_request(feed):
    text = b"m " + b"x" * (MAX_REQUEST_OCTETS - 2)
    events = feed(SocketmapServer, encode_netstring(text), reply=NotFound())
    assert events == [Request("m", "x" * (MAX_REQUEST_OCTETS - 2)), NEED_DATA]
    assert feed(SocketmapServer, b"10001:") == [REFUSED]


def asked() -> SocketmapServer:
    codec = SocketmapServer()
    codec.receive_data(b"5:m key,")
    codec.next_event()
    return codec


@pytest.mark.parametrize(
    ("reply", "data"),
    [
        (Ok("smtp:[mx]"), b"12:OK smtp:[mx],"),
        (Ok(" "), b"4:OK  ,"),
        (Ok("\u00e9\udcff"), b"6:OK \xc3\xa9\xff,"),
        (NotFound(), b"9:NOTFOUND ,"),
        (Temp("why"), b"8:TEMP why,"),
        (Temp(""), b"5:TEMP ,"),
        (Timeout("why"), b"11:TIMEOUT why,"),
        (Perm("why"), b"8:PERM why,"),
    ],
)
def test_replies(reply, data):
    assert asked().send(reply) == data


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Ok(""), "without data"),
        (Ok("a\0b"), "NUL"),
        (Temp("\0"), "NUL"),
        (Ok("x" * (MAX_REPLY_OCTETS - 2)), "100001 octets"),
        (Ok("\u00e9" * (MAX_REPLY_OCTETS // 2)), "100003 octets"),
        (Ok("\ud800"), "not text"),
    ],
)
def test_replies_that_postfix_would_misread(reply, why):
    codec = asked()
    with pytest.raises(LocalProtocolError, match=why):
        codec.send(reply)
    assert codec.send(Temp("x"))


def test_longest_reply():
    assert len(asked().send(Ok("x" * (MAX_REPLY_OCTETS - 3)))) == MAX_REPLY_OCTETS + len("100000:,")
