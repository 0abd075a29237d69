"""Any octets at all: a value or nothing, never an exception; and no lie becomes encryption."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.maillog.events import parse_event
from gatepost.maillog.follow import parse_journal
from gatepost.maillog.join import Joiner
from gatepost.maillog.lines import parse_line, stamp_of
from gatepost.maillog.model import Delivery, TlsClass
from gatepost.maillog.stamps import Clock

NOW = dt.datetime(2026, 11, 24, 16, tzinfo=dt.UTC).timestamp()
CLOCK = Clock(NOW, dt.UTC)
LOGS = Path(__file__).parent / "logs"
REAL = [line for path in sorted(LOGS.glob("*.log")) for line in path.read_bytes().split(b"\n")]

PIECES = st.sampled_from(
    [
        "4AAAA: ",
        "to=<",
        "a@b.example",
        '"',
        "\\",
        ">",
        ", relay=",
        "mx.a[192.0.2.1]:25",
        ", conn_use=2",
        ", delay=1",
        ", delays=0/0/0/1",
        ", tls=",
        "may",
        "!encrypt",
        ", dsn=2.0.0",
        ", status=sent (",
        "status=",
        "(",
        ")",
        "Verified TLS connection established to ",
        ": TLSv1.3 with cipher X",
        "from=<",
        ", size=1",
        "removed",
        "message repeated 2 times: [ ",
        "]",
        " ",
        "\x00",
        "\u2028",
        "\udcff",
    ]
)
TEXTS = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=20).map("".join))
HEADS = st.sampled_from(
    ["Nov 24 15:52:35 mail postfix/smtp[1]: ", "2026-11-24T15:00:00Z mail postfix/qmgr[1]: ", ""]
)


def octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def mangled() -> st.SearchStrategy[bytes]:
    """Return lines of real logs with a piece taken out and another put in."""
    return st.builds(
        lambda line, start, length, new: line[:start] + new + line[start + length :],
        st.sampled_from(REAL),
        st.integers(0, 300),
        st.integers(0, 50),
        st.binary(max_size=20),
    )


LINES = st.one_of(
    st.binary(max_size=300),
    mangled(),
    st.builds(lambda head, text: octets(head + text), HEADS, TEXTS),
)


@pytest.mark.fuzz
@given(LINES)
def test_a_line_is_something_or_nothing(line):
    parse_line(line, CLOCK)
    stamp_of(line, CLOCK)
    parse_journal(line)


@pytest.mark.fuzz
@given(st.sampled_from(["smtp", "qmgr", "other"]), TEXTS)
def test_a_text_is_something_or_nothing(program, text):
    parse_event(program, text)


@pytest.mark.fuzz
@given(st.lists(LINES, max_size=30))
def test_a_joiner_takes_anything_and_can_be_put_down(lines):
    joiner = Joiner(CLOCK)
    for line in lines:
        found = joiner.read(line)
        assert found is None or isinstance(found, Delivery)
    state = {key: text for key, text in joiner.changes().items() if text is not None}
    again = Joiner(CLOCK, state=state)
    assert {key: again._text_of(key) for key in state} == state


REPLY = st.one_of(
    st.text(max_size=100),
    st.lists(
        st.sampled_from(
            [
                "status=sent (250 ok)",
                "tls=dane",
                ", dsn=2.0.0",
                "\n",
                "postfix/smtp[1]: ",
                "Verified TLS connection established to mx.a[192.0.2.1]:25: TLSv1.3 with cipher X",
                "]",
            ]
        ),
        max_size=8,
    ).map(" ".join),
)


@pytest.mark.fuzz
@given(REPLY, REPLY)
def test_no_reply_makes_a_plaintext_delivery_encrypted(first, second):
    head = "Nov 24 15:52:%02d mail postfix/smtp[1]: "
    relay = "relay=mx.a[192.0.2.1]:25, delay=1, delays=0/0/0/1, dsn=2.0.0"
    # Postfix logs no control characters, and syslog no line ends.
    said = [
        "".join(char if char.isprintable() else "?" for char in each) for each in (first, second)
    ]
    lines = [
        head % 0 + "4BBBB: to=<a@b.example>, relay=none, delay=1, delays=0/0/0/1, dsn=4.0.0, "
        f"status=deferred (host x said: {said[0]})",
        head % 30 + f"4AAAA: host mx.a[192.0.2.1] said: {said[0]}",
        head % 31 + f"4AAAA: to=<a@b.example>, {relay}, status=sent ({said[1]})",
    ]
    joiner = Joiner(CLOCK, tls_logged=True)
    found = [joiner.read(octets(line)) for line in lines]
    assert found[2] is not None
    assert found[2].tls is TlsClass.PLAINTEXT
