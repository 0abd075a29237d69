"""One request, one reply, in turn."""

from __future__ import annotations

import pytest

from gatepost.errors import LocalProtocolError, RemoteProtocolError
from gatepost.wire.exchange import ServerExchange
from gatepost.wire.netstring import NetstringDecoder
from gatepost.wire.signals import CLOSED, NEED_DATA


class Echo(ServerExchange[bytearray, str, str]):
    """Echoes; refuses the request "bad" and the reply "bad"; hangs up with an empty reply."""

    def __init__(self):
        super().__init__(NetstringDecoder(100))

    def _parse(self, frame):
        if frame == b"bad":
            raise RemoteProtocolError("bad")
        return frame.decode()

    def _format(self, reply):
        if reply == "bad":
            raise LocalProtocolError("bad")
        return reply.encode()


def echo(data: bytes) -> Echo:
    codec = Echo()
    codec.receive_data(data)
    return codec


def test_in_turn():
    codec = echo(b"1:a,1:b,")
    assert codec.next_event() == "a"
    assert codec.send("A") == b"A"
    assert codec.next_event() == "b"
    assert codec.send("B") == b"B"
    assert codec.next_event() is NEED_DATA
    codec.receive_data(b"")
    assert codec.next_event() is CLOSED


def test_no_second_request_before_the_reply():
    codec = echo(b"1:a,1:b,")
    codec.next_event()
    with pytest.raises(LocalProtocolError, match="has not been answered"):
        codec.next_event()
    codec.send("A")
    assert codec.next_event() == "b"


def test_no_reply_without_a_request():
    with pytest.raises(LocalProtocolError, match="no request waits"):
        echo(b"1:a,").send("A")


def test_no_second_reply():
    codec = echo(b"1:a,")
    codec.next_event()
    codec.send("A")
    with pytest.raises(LocalProtocolError, match="no request waits"):
        codec.send("A")


def test_a_reply_that_cannot_be_sent_may_be_replaced():
    codec = echo(b"1:a,")
    codec.next_event()
    with pytest.raises(LocalProtocolError, match="bad"):
        codec.send("bad")
    assert codec.send("A") == b"A"


def test_hanging_up_ends_everything():
    codec = echo(b"1:a,1:b,")
    codec.next_event()
    assert codec.send("") == b""
    assert codec.next_event() is CLOSED
    with pytest.raises(LocalProtocolError):
        codec.send("A")


def test_nothing_comes_behind_a_broken_request():
    codec = echo(b"3:bad,1:b,")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            codec.next_event()
    with pytest.raises(LocalProtocolError):
        codec.send("A")


def test_nothing_comes_behind_a_broken_frame():
    codec = echo(b"1:a;1:b,")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            codec.next_event()


def test_a_request_may_be_answered_after_the_end_of_the_stream():
    codec = echo(b"1:a,")
    codec.receive_data(b"")
    assert codec.next_event() == "a"
    assert codec.send("A") == b"A"
    assert codec.next_event() is CLOSED


def test_idle_between_requests_only():
    codec = Echo()
    assert codec.idle
    codec.receive_data(b"1:")
    assert not codec.idle
    codec.receive_data(b"a,")
    assert not codec.idle
    codec.next_event()
    assert not codec.idle
    codec.send("A")
    assert codec.idle
