"""SMTP replies: whatever comes, in whatever pieces, is a reply or a documented error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import RemoteProtocolError
from gatepost.tls.survey.replies import (
    MAX_LINE_OCTETS,
    MAX_REPLY_OCTETS,
    Reply,
    ReplyReader,
)

EHLO = b"250-mx.example\r\n250-SIZE 10\r\n250 STARTTLS\r\n"


def read(*pieces: bytes) -> list[Reply]:
    reader = ReplyReader()
    found = []
    for piece in pieces:
        reader.receive_data(piece)
        while (reply := reader.next_reply()) is not None:
            found.append(reply)
    return found


@pytest.mark.parametrize(
    ("octets", "code", "lines"),
    [
        (b"220 mx.example ESMTP\r\n", 220, ("mx.example ESMTP",)),
        (b"220\r\n", 220, ("",)),
        (b"220 \r\n", 220, ("",)),
        (b"220-a\r\n220 b\r\n", 220, ("a", "b")),
        (b"220-a\n220-\n220 b\n", 220, ("a", "", "b")),
        (b"421 4.3.2 busy\r\r\n", 421, ("4.3.2 busy",)),
        (b"250 caf\xe9\r\n", 250, ("caf\xe9",)),
        (EHLO, 250, ("mx.example", "SIZE 10", "STARTTLS")),
    ],
)
def test_a_reply(octets: bytes, code: int, lines: tuple[str, ...]) -> None:
    [reply] = read(octets)
    assert (reply.code, reply.lines, reply.raw) == (code, lines, octets.decode("latin-1"))
    assert read(*(bytes([octet]) for octet in octets)) == [reply]
    assert read(octets + EHLO)[0] == reply


@pytest.mark.parametrize(
    "octets",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\r\n",
        b"22 a\r\n",
        b"2200 a\r\n",
        b"220_a\r\n",
        b"120 a\r\n",
        b"620 a\r\n",
        b"220-a\r\n250 b\r\n",
        b"\x16\x03\x01\x02\x00\n",
        b"x" * MAX_LINE_OCTETS,
        b"220 " + b"x" * MAX_LINE_OCTETS + b"\r\n",
        b"220-x\r\n" * (MAX_REPLY_OCTETS // 7 + 1),
    ],
)
def test_what_is_no_reply_is_an_error_for_good(octets: bytes) -> None:
    reader = ReplyReader()
    reader.receive_data(octets)
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            reader.next_reply()
        reader.receive_data(b"220 fine\r\n")
    assert not reader.pending


def test_the_longest_line_and_reply_pass() -> None:
    line = b"220 " + b"x" * (MAX_LINE_OCTETS - 6) + b"\r\n"
    assert len(read(line)) == 1
    many = b"220-x\r\n" * (MAX_REPLY_OCTETS // 7 - 1) + b"220 x\r\n"
    assert len(read(many, many)) == 2


def test_nothing_is_kept_of_a_flood() -> None:
    reader = ReplyReader()
    for _ in range(MAX_LINE_OCTETS // 1024 - 1):
        reader.receive_data(b"x" * 1024)
        assert reader.next_reply() is None
    reader.receive_data(b"x" * 1024)
    with pytest.raises(RemoteProtocolError):
        reader.next_reply()
    reader.receive_data(b"x" * 1024 * 1024)
    assert not reader.pending


@pytest.mark.parametrize(
    ("octets", "pending"), [(b"", False), (b"2", True), (b"250-a\r\n", True), (EHLO, False)]
)
def test_pending_tells_of_octets_that_belong_to_no_reply(octets: bytes, *, pending: bool) -> None:
    reader = ReplyReader()
    reader.receive_data(octets)
    reader.next_reply()
    assert reader.pending is pending


TEXT = st.binary(max_size=60).map(lambda octets: octets.translate(None, b"\r\n"))


@st.composite
def replies(draw: st.DrawFn) -> bytes:
    code = b"%d" % draw(st.integers(200, 599))
    lines = draw(st.lists(TEXT, max_size=5))
    return b"".join(code + b"-" + line + b"\r\n" for line in lines) + code + b" end\r\n"


@pytest.mark.fuzz
@given(st.lists(replies(), max_size=5), st.data())
def test_pieces_do_not_matter(sent: list[bytes], data: st.DataObject) -> None:
    octets = b"".join(sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=10)))
    pieces = [octets[a:b] for a, b in zip([0, *cuts], [*cuts, len(octets)], strict=True)]
    found = read(*pieces)
    assert [reply.raw.encode("latin-1") for reply in found] == sent
    assert all(reply.text.isascii() and reply.text.isprintable() for reply in found)


@pytest.mark.fuzz
@given(st.lists(st.binary(max_size=200), max_size=20))
def test_anything_is_read_or_refused(pieces: list[bytes]) -> None:
    reader = ReplyReader()
    try:
        for piece in pieces:
            reader.receive_data(piece)
            while (reply := reader.next_reply()) is not None:
                assert 200 <= reply.code < 600
                assert reply.lines
    except RemoteProtocolError:
        pass
