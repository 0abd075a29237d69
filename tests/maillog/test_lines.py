"""One line: the forms in which loggers write it."""

from __future__ import annotations

import datetime as dt

import pytest

from gatepost.maillog.lines import Entry, Loss, Repeat, parse_line, stamp_of
from gatepost.maillog.stamps import Clock

AT = dt.datetime(2026, 11, 24, 15, 52, 35, tzinfo=dt.UTC).timestamp()
CLOCK = Clock(AT, dt.UTC)
TEXT = "4jYnPv2tdjz4Y: to=<a@b.example>, relay=…"


@pytest.mark.parametrize(
    ("line", "at"),
    [
        ("Nov 24 15:52:35 mail postfix/gp-x/smtp[191]: ", AT),
        ("2026-11-24T15:52:35.123456+00:00 mail postfix/gp-x/smtp[191]: ", AT + 0.123456),
        ("2026-11-24T16:52:35+01:00 mail postfix/gp-x/smtp[191]: ", AT),
        ("<22>Nov 24 15:52:35 mail postfix/gp-x/smtp[191]: ", AT),
        ("<22>1 2026-11-24T15:52:35Z mail postfix/gp-x/smtp 191 - - ", AT),
        ("<22>1 2026-11-24T15:52:35Z mail postfix/gp-x/smtp 191 ID47 - \ufeff", AT),
    ],
)
def test_the_forms_of_a_line(line, at):
    found = parse_line((line + TEXT).encode(), CLOCK)
    assert found == Entry(pytest.approx(at), "mail", "postfix/gp-x", "smtp", 191, TEXT)


def test_the_plain_service_and_the_queue_manager():
    entry = parse_line(b"Nov 24 15:52:35 mail postfix/smtp[1]: x", CLOCK)
    assert entry == Entry(AT, "mail", "postfix", "smtp", 1, "x")
    entry = parse_line(b"Nov 24 15:52:35 mail postfix-out/qmgr[1]: x", CLOCK)
    assert entry == Entry(AT, "mail", "postfix-out", "qmgr", 1, "x")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"Nov 24 15:52:35 mail postfix/smtpd[191]: connect from x[192.0.2.1]",
        b"Nov 24 15:52:35 mail postfix/lmtp[191]: 4X: to=<a@b>, relay=x",
        # The words stand somewhere else than where the logger writes them.
        b"Nov 24 15:52:35 mail postfix/smtpd[1]: NOQUEUE: reject: helo=<x postfix/smtp[2]: y>",
        b"Nov 24 15:52:35 mail smtp[1]: without a name in front",
        b"Nov 99 15:52:35 mail postfix/smtp[1]: x",
        b"Nov 24 15:52:35 mail postfix/smtp[1]: ",
        b"Nov 24 15:52:35 mail postfix/smtp[99999999999]: x",
    ],
)
def test_what_tells_nothing_of_deliveries(line):
    assert parse_line(line, CLOCK) is None


def test_a_line_that_rsyslog_has_joined():
    line = b"Nov 24 15:52:35 mail postfix/smtp[191]: message repeated 3 times: [ 4X: to=<a@b>]"
    found = parse_line(line, CLOCK)
    assert isinstance(found, Entry)
    assert (found.text, found.repeats) == ("4X: to=<a@b>", 3)


def test_a_line_that_syslogd_has_joined():
    line = b"Nov 24 15:52:35 mail last message repeated 5 times"
    assert parse_line(line, CLOCK) == Repeat(5)


@pytest.mark.parametrize(
    "line",
    [
        b"Nov 24 15:52:35 mail rsyslogd: imuxsock[12]: begin to drop messages due to rate-limiting",
        b"Nov 24 15:52:35 mail rsyslogd: imjournal: 12 messages lost due to rate-limiting (2)",
        b"Nov 24 15:52:35 mail systemd-journald[221]: Suppressed 120 messages from postfix.service",
    ],
)
def test_loggers_that_say_that_they_lose_lines(line):
    assert parse_line(line, CLOCK) == Loss(AT)


@pytest.mark.parametrize(
    "line",
    [
        b"Nov 24 15:52:35 mail postfix/smtpd[1]: reject: helo=<Suppressed 9 messages >",
        b"Nov 24 15:52:35 mail postfix/smtpd[1]: helo=<rsyslogd: rate-limiting>",
        b"Nov 24 15:52:35 mail postfix/cleanup[1]: message-id=<last message repeated 5 times>",
    ],
)
def test_who_only_quotes_a_logger_is_none(line):
    assert parse_line(line, CLOCK) is None


def test_the_stamp_of_any_line():
    assert stamp_of(b"Nov 24 15:52:35 mail kernel: x", CLOCK) == AT
    assert stamp_of(b"2026-11-24T15:52:35Z mail kernel: x", CLOCK) == AT
    assert stamp_of(b"<6>Nov 24 15:52:35 mail kernel: x", CLOCK) == AT
    assert stamp_of(b"# a comment", CLOCK) is None


def test_octets_that_are_no_text_do_not_end_a_line():
    # U+2028 and U+0085 end lines for str.splitlines; a reply with them must stay one line.
    line = "Nov 24 15:52:35 mail postfix/smtp[1]: a\u2028b\x85c".encode() + b"\xff\n"
    found = parse_line(line.split(b"\n")[0], CLOCK)
    assert isinstance(found, Entry)
    assert found.text == "a\u2028b\x85c\udcff"
