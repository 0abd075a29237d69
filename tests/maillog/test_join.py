"""Lines to deliveries: what may be joined, and what must stay unknown."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import pytest

from gatepost.maillog.join import Joiner, deliveries
from gatepost.maillog.model import Delivery, TlsClass
from gatepost.maillog.stamps import Clock

START = dt.datetime(2026, 11, 24, 15, 0, 0, tzinfo=dt.UTC)
GOOD = "mx.good.example[198.18.1.1]:25"
PLAIN = "mx.plain.example[198.18.1.2]:25"
UNKNOWN, PLAINTEXT = TlsClass.UNKNOWN, TlsClass.PLAINTEXT
ENCRYPTED, AUTHENTICATED = TlsClass.ENCRYPTED, TlsClass.AUTHENTICATED


def line(
    second: float, text: str, *, program: str = "smtp", pid: int = 7, host: str = "mail"
) -> bytes:
    stamp = (START + dt.timedelta(seconds=second)).isoformat()
    return f"{stamp} {host} postfix/{program}[{pid}]: {text}".encode()


def tls(
    second: float, relay: str = GOOD, *, trust: str = "Trusted", word: str = "established", **where
) -> bytes:
    text = f"{trust} TLS connection {word} to {relay}: TLSv1.3 with cipher X (256/256 bits)"
    return line(second, text, **where)


def sent(
    second: float,
    queue_id: str = "4AAAA",
    relay: str = GOOD,
    *,
    to: str = "u@good.example",
    use: str = "",
    delays: str = "0/0/0.1/0.4",
    status: str = "sent",
    field: str = "",
    **where,
) -> bytes:
    text = (
        f"{queue_id}: to=<{to}>, relay={relay}{use}, delay=0.5, delays={delays}{field}, dsn=2.0.0, "
        f"status={status} (250 2.0.0 taken)"
    )
    return line(second, text, **where)


def active(second: float, queue_id: str = "4AAAA", sender: str = "n@acme.example") -> bytes:
    return line(
        second, f"{queue_id}: from=<{sender}>, size=1, nrcpt=1 (queue active)", program="qmgr"
    )


def joiner(**options) -> Joiner:
    return Joiner(Clock(START.timestamp() + 3600, dt.UTC), **options)


# A service that logs TLS, in a log that is read from a minute before.
BEGIN = (line(-60, "4ZZZZ: from=<>, size=1", program="qmgr"), tls(-50, pid=1))


def read(*lines: bytes, begin: Sequence[bytes] = BEGIN) -> list[Delivery]:
    return deliveries([*begin, *lines], joiner())


def classes(*lines: bytes, begin: Sequence[bytes] = BEGIN) -> list[TlsClass]:
    return [each.tls for each in read(*lines, begin=begin)]


def test_a_tls_line_is_joined_to_the_delivery_behind_it():
    (found,) = read(active(0), tls(1), sent(1.5))
    assert found == Delivery(
        START.timestamp() + 1.5,
        pytest.approx(START.timestamp() + 1),
        "4AAAA",
        "n@acme.example",
        "u@good.example",
        "",
        "mx.good.example",
        "198.18.1.1",
        "sent",
        "2.0.0",
        ENCRYPTED,
        "TLSv1.3",
        reply="250 2.0.0 taken",
    )


def test_a_verified_connection_is_authenticated():
    assert classes(tls(1, trust="Verified"), sent(1.5)) == [AUTHENTICATED]


def test_all_recipients_of_one_request_are_of_one_session():
    found = read(tls(1), sent(1.5), sent(1.5, to="v@good.example"), sent(1.5, to="w@good.example"))
    assert [(each.tls, each.opens) for each in found] == [
        (ENCRYPTED, True),
        (ENCRYPTED, False),
        (ENCRYPTED, False),
    ]


def test_processes_are_told_apart():
    assert classes(
        tls(1, pid=7),
        tls(1, PLAIN, pid=8),
        sent(1.5, relay=PLAIN, pid=7),
        sent(1.5, pid=9),
        sent(1.6, "4BBBB", relay=PLAIN, pid=8),
        sent(1.7, "4CCCC", pid=10),
    ) == [PLAINTEXT, PLAINTEXT, ENCRYPTED, PLAINTEXT]


def test_the_same_process_id_on_another_host_is_another_process():
    begin = (*BEGIN, tls(-50, pid=1, host="b"))
    assert classes(tls(1, host="a"), sent(1.5, host="b"), begin=begin) == [PLAINTEXT]


def test_another_message_of_the_same_process_needs_a_line_of_its_own():
    assert classes(tls(1), sent(1.5), sent(1.9, "4BBBB")) == [ENCRYPTED, PLAINTEXT]


def test_a_reused_connection_has_one():
    found = read(tls(1), sent(1.5), tls(2, word="reused"), sent(2.1, "4BBBB", use=", conn_use=2"))
    assert [(each.tls, each.opens) for each in found] == [(ENCRYPTED, True), (ENCRYPTED, False)]


def test_a_reused_connection_without_one_is_plaintext():
    assert classes(sent(1.5), sent(2, "4BBBB", use=", conn_use=2")) == [PLAINTEXT, PLAINTEXT]


def test_another_attempt_for_the_same_message_needs_a_line_of_its_own():
    # The same process, message and server, a moment later.
    assert classes(
        active(0),
        tls(1),
        sent(1.2, status="deferred"),
        active(1.4),
        sent(1.9, delays="1/0/0.1/0.4"),
    ) == [UNKNOWN, PLAINTEXT]


def test_an_attempt_that_took_less_time_than_since_the_tls_line_is_another():
    assert classes(tls(1), sent(20)) == [PLAINTEXT]


def test_more_recipients_that_were_handed_over_later_are_unknown_without_a_line():
    assert classes(
        active(0), tls(1), sent(1.5, delays="0/0/0.1/0.4"), sent(1.9, delays="0/0.5/0.1/0.3")
    ) == [ENCRYPTED, UNKNOWN]


@pytest.mark.parametrize(
    "trouble",
    [
        "4AAAA: lost connection with mx.good.example[198.18.1.1] while sending DATA command",
        "4AAAA: conversation with mx.good.example[198.18.1.1] timed out while sending RCPT TO",
        "4AAAA: Cannot start TLS: handshake failure",
    ],
)
def test_a_server_that_is_tried_again_in_plaintext(trouble):
    # What Postfix does at level may when an encrypted session fails.
    assert classes(tls(1), line(1.1, trouble), sent(1.5)) == [PLAINTEXT]


def test_what_may_have_been_the_end_of_a_connection_leaves_it_unknown():
    assert classes(tls(1), line(1.1, "4AAAA: a new sentence"), sent(1.5)) == [UNKNOWN]


def test_what_is_known_to_go_on_changes_nothing():
    goes_on = "4AAAA: breaking line > 998 bytes with <CR><LF>SPACE"
    assert classes(tls(1), line(1.1, goes_on), sent(1.5)) == [ENCRYPTED]


def test_a_line_that_cannot_be_read_leaves_its_connection_unknown():
    reader = joiner()
    cut = line(1.2, "4AAAA: to=<u@good.example>, relay=mx.good")
    found = deliveries([*BEGIN, tls(1), cut, sent(1.5)], reader)
    assert [each.tls for each in found] == [UNKNOWN]
    assert reader.tally.unreadable == 1


def test_the_next_server_is_judged_by_itself():
    assert classes(
        tls(1),
        line(1.1, "4AAAA: host mx.good.example[198.18.1.1] said: 451 later"),
        sent(1.5, relay=PLAIN),
    ) == [PLAINTEXT]


def test_plaintext_needs_a_service_that_logs_tls():
    begin = BEGIN[:1]
    assert classes(sent(1.5), begin=begin) == [UNKNOWN]
    assert classes(sent(1.5), tls(2), sent(2.5, "4BBBB"), sent(3, "4CCCC"), begin=begin) == [
        UNKNOWN,
        ENCRYPTED,
        PLAINTEXT,
    ]
    told = deliveries([*begin, sent(1.5)], joiner(tls_logged=True))
    assert [each.tls for each in told] == [PLAINTEXT]


def test_plaintext_needs_a_log_that_is_read_since_before_the_attempt():
    begin = (tls(0, pid=1),)
    slow = {"delays": "0/0/1/2"}
    assert classes(sent(4, **slow), begin=begin) == [UNKNOWN]
    assert classes(sent(6, **slow), begin=begin) == [PLAINTEXT]


def test_lines_that_the_logger_dropped_leave_what_was_under_way_unknown():
    at = (START + dt.timedelta(seconds=2)).isoformat()
    lost = f"{at} mail rsyslogd: imuxsock: begin to drop messages due to rate-limiting".encode()
    assert classes(tls(1), lost, sent(2.1, delays="0/0/1/0.2"), sent(3, "4BBBB", pid=8)) == [
        UNKNOWN,
        UNKNOWN,
    ]
    assert classes(lost, sent(9)) == [PLAINTEXT]


def test_the_field_of_3_11_needs_no_join():
    found = read(
        sent(1, field=", tls=may"),
        sent(2, "4BBBB", field=", tls=may:none"),
        tls(3),
        sent(3.2, "4CCCC", field=", tls=verify"),
        begin=(),
    )
    assert [(each.tls, each.version) for each in found] == [
        (ENCRYPTED, ""),
        (PLAINTEXT, ""),
        (AUTHENTICATED, "TLSv1.3"),
    ]


def test_the_field_of_3_11_is_believed_before_a_tls_line():
    assert classes(tls(1), sent(1.2, field=", tls=may:none")) == [PLAINTEXT]


def test_senders_are_remembered_until_the_message_is_removed():
    removed = line(3, "4AAAA: removed", program="qmgr")
    found = read(active(0), sent(1), sent(2), removed, sent(4))
    assert [each.sender for each in found] == ["n@acme.example", "n@acme.example", None]


def test_the_null_sender_is_known():
    (found,) = read(active(0, sender=""), sent(1))
    assert found.sender == ""


def test_memory_is_bounded():
    small = joiner(max_messages=10, max_processes=10)
    for number in range(100):
        small.read(active(number, f"4{number:04}"))
        small.read(sent(number + 0.1, f"4{number:04}", pid=number))
    assert (len(small._messages), len(small._processes)) == (10, 10)


def test_a_process_that_had_to_be_forgotten_is_never_called_plaintext():
    small = joiner(max_processes=2, tls_logged=True)
    found = deliveries(
        [*BEGIN, tls(1, pid=7), tls(1.1, pid=8), tls(1.2, pid=9), sent(1.5, pid=7)], small
    )
    assert [each.tls for each in found] == [UNKNOWN]


def test_a_line_that_stands_for_several():
    again = line(2, "message repeated 2 times: [ " + sent(1.5)[len(line(1.5, "")) :].decode() + "]")
    last = f"{START.isoformat()} mail last message repeated 3 times".encode()
    found = read(tls(1), sent(1.5), again, sent(1.6), last)
    assert [(each.count, each.opens, each.tls) for each in found] == [
        (1, True, ENCRYPTED),
        (2, False, ENCRYPTED),
        (1, False, ENCRYPTED),
        (3, False, ENCRYPTED),
    ]


def test_a_repeat_of_something_else_is_nothing():
    last = f"{START.isoformat()} mail last message repeated 3 times".encode()
    assert len(read(tls(1), sent(1.5), b"Nov 24 15:00:00 mail postfix/smtpd[1]: x", last)) == 1


def test_the_service_is_the_last_part_of_its_name():
    lines = [
        each.replace(b"postfix/smtp", name + b"/smtp")
        for name in (b"postfix", b"postfix-out", b"postfix/gp-bulk-private", b"postfix/relay")
        for each in (sent(1),)
    ]
    assert [each.service for each in deliveries(lines, joiner())] == [
        "",
        "",
        "gp-bulk-private",
        "relay",
    ]


def test_a_joiner_goes_on_where_another_ended_at_any_line():
    lines = [
        *BEGIN,
        active(0),
        active(0.1, "4BBBB", "m@beta.example"),
        tls(1),
        sent(1.5),
        sent(1.5, to="v@good.example"),
        line(2, "4AAAA: removed", program="qmgr"),
        tls(2, pid=8),
        line(2.1, "4BBBB: lost connection with mx.good.example[198.18.1.1] while x", pid=8),
        sent(2.5, "4BBBB", pid=8),
        tls(3, pid=9),
        line(3.1, "4BBBB: odd", pid=9),
        sent(3.2, "4BBBB", pid=9),
    ]
    whole = deliveries(lines, joiner())
    assert len(whole) == 4
    for cut in range(len(lines)):
        state: dict[str, str] = {}
        found = []
        for part in (lines[:cut], lines[cut:]):
            reader = joiner(state=dict(state))
            found += deliveries(part, reader)
            for key, text in reader.changes().items():
                if text is None:
                    del state[key]
                else:
                    state[key] = text
        assert found == whole, cut


def test_what_came_and_went_between_two_calls_is_not_told():
    reader = joiner()
    reader.read(active(0))
    reader.read(line(1, "4AAAA: removed", program="qmgr"))
    assert [key for key in reader.changes() if key.startswith("m:")] == []
    reader.read(active(2))
    assert reader.changes()["m:4AAAA"] is not None
    reader.read(line(3, "4AAAA: removed", program="qmgr"))
    assert reader.changes()["m:4AAAA"] is None
    assert reader.changes() == {}


def test_since_when_tls_is_logged_is_remembered():
    at = START.timestamp()
    first = joiner()
    first.tls_is_logged(at + 10)
    state = first.changes()
    # Whoever goes on learns of it anew, and it has been so all the time.
    second = joiner(state=state)
    second.tls_is_logged(at + 100)
    told = deliveries([BEGIN[0], sent(5), sent(20, "4BBBB")], second)
    assert [each.tls for each in told] == [UNKNOWN, PLAINTEXT]
    second.tls_is_logged(None)
    assert second.changes()["logged"] is None


def test_postfix_may_begin_to_log_tls_later():
    reader = joiner()
    before = deliveries([BEGIN[0], sent(1.5)], reader)
    reader.tls_is_logged(START.timestamp() + 10)
    after = deliveries([sent(10.2, "4BBBB"), sent(12, "4CCCC")], reader)
    assert [each.tls for each in before + after] == [UNKNOWN, UNKNOWN, PLAINTEXT]
    reader.tls_is_logged(None)
    assert [each.tls for each in deliveries([sent(20, "4DDDD")], reader)] == [UNKNOWN]
