"""Lines about the queue, as Postfix 3.7 and 3.11 write them, and what only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.maillog.queue_lines import (
    MAX_OCTETS,
    Came,
    Final,
    Gone,
    Tried,
    Written,
    parse_queue_entry,
    parse_queue_line,
)

ID, SHORT = "4jYyJy3f3Nz3r", "8F00B12"
HEAD = "Nov 24 22:33:54 mail postfix"
ISO = "2026-11-24T22:33:54.123456+00:00 mail postfix"
TAIL = "delay=0.02, delays=0.01/0/0.01/0, dsn=2.0.0, status"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            (
                f"{HEAD}/submission/smtpd[181]: {ID}: client=unknown[198.18.0.1], "
                "sasl_method=PLAIN, sasl_username=acme"
            ),
            Came(ID, "198.18.0.1", "acme", "181"),
        ),
        (
            f"{ISO}/smtpd[1]: {SHORT}: client=a.example[2001:db8::1]",
            Came(SHORT, "2001:db8::1", "", "1"),
        ),
        (
            (
                f"{HEAD}/smtpd[1]: {SHORT}: client=a[192.0.2.1], sasl_method=LOGIN, "
                "sasl_username=a, b, sasl_sender=c"
            ),
            Came(SHORT, "192.0.2.1", "a, b", "1"),
        ),
        (
            f"{HEAD}/smtpd[1]: {SHORT}: client=a[127.0.0.1], orig_client=b[10.0.0.1]",
            Came(SHORT, "127.0.0.1", "", "1"),
        ),
        (
            f"{HEAD}/qmgr[237]: {ID}: from=<n@acme.example>, size=9, nrcpt=3 (queue active)",
            Tried(ID, "n@acme.example", 3),
        ),
        (
            f"{HEAD}-burst/qmgr[237]: {ID}: from=<>, size=9, nrcpt=1 (queue active)",
            Tried(ID, "", 1),
        ),
        (
            (
                f'{HEAD}/qmgr[237]: {ID}: from=<"a> b, size=1"@acme.example>, size=9, nrcpt=1 '
                "(queue active)"
            ),
            Tried(ID, '"a> b, size=1"@acme.example', 1),
        ),
        (f"{HEAD}/qmgr[237]: {ID}: removed", Gone(ID)),
        (
            (
                f"{HEAD}/gp-bulk-private/smtp[265]: {ID}: to=<u1@good.example>, "
                f"relay=mx.good.example[198.18.1.1]:25, {TAIL}=sent (250 2.0.0 taken)"
            ),
            Final(ID),
        ),
        (
            (
                f"{HEAD}/smtp[265]: {ID}: to=<u1@good.example>, orig_to=<x@good.example>, "
                f"relay=none, conn_use=2, {TAIL}=bounced (no such user)"
            ),
            Final(ID),
        ),
        (
            (
                f"{HEAD}/lmtp[265]: {ID}: to=<u1@good.example>, relay=mail[private/lmtp], "
                f"delay=0.02, delays=0.01/0/0.01/0, tls=may:none, dsn=2.0.0, status=sent (250 ok)"
            ),
            Final(ID),
        ),
        (
            (
                f"{HEAD}/smtp[265]: {ID}: to=<u2@busy.example>, relay=none, "
                f"{TAIL}=deferred (status=sent (x))"
            ),
            None,
        ),
        (
            (
                f'{HEAD}/smtp[265]: {ID}: to=<"a>, relay=x, {TAIL}=sent "@e.org>, relay=none, '
                f"{TAIL}=deferred (x)"
            ),
            None,
        ),
        (f"{HEAD}/postsuper[331]: {ID}: placed on hold", Gone(ID)),
        (f"{HEAD}/postsuper[331]: {ID}: requeued", Gone(ID)),
        (f"{HEAD}/postsuper[331]: {ID}: removed", Gone(ID)),
        (f"{HEAD}/postsuper[331]: {ID}: released from hold", None),
        (f"{HEAD}/postsuper[331]: Placed on hold: 1 message", None),
        (
            f"{HEAD}/cleanup[7]: {SHORT}: milter-reject: END-OF-MESSAGE from a[192.0.2.1]: 5.7.1",
            Gone(SHORT),
        ),
        (
            f"{HEAD}/cleanup[7]: {SHORT}: reject: header Subject: x from a[192.0.2.1]",
            Gone(SHORT),
        ),
        (
            f"{HEAD}/smtpd[7]: {SHORT}: reject: END-OF-MESSAGE from a[192.0.2.1]: 450",
            Gone(SHORT),
        ),
        (f"{HEAD}/smtpd[7]: {SHORT}: reject: RCPT from a[192.0.2.1]: 450 4.7.1", None),
        (f"{HEAD}/smtpd[7]: NOQUEUE: reject: RCPT from a[192.0.2.1]: 450 4.7.1", None),
        (f"{HEAD}/smtpd[7]: warning: {SHORT}: removed", None),
        (f"{HEAD}/cleanup[7]: {SHORT}: message-id=<removed@x>", Written(SHORT)),
        (f"{HEAD}/bounce[7]: {SHORT}: removed", None),
        (f"<22>1 2026-11-24T22:33:54Z mail postfix/qmgr 237 - - {ID}: removed", Gone(ID)),
        ("", None),
    ],
)
def test_lines(line: str, expected: object) -> None:
    assert parse_queue_line(line.encode()) == expected


def test_entries_of_the_journal() -> None:
    assert parse_queue_entry("qmgr", 7, f"{ID}: removed") == Gone(ID)
    assert parse_queue_entry("qmgr", 7, "warning: x: removed") is None
    assert parse_queue_entry("smtpd", 7, "connect from unknown[198.18.0.1]") is None


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_nothing_raises(octets: bytes) -> None:
    parse_queue_line(octets)
    parse_queue_line(f"{HEAD}/qmgr[1]: {ID}: from=<".encode() + octets)
    parse_queue_line(f"{HEAD}/smtp[1]: {ID}: to=<".encode() + octets)
    parse_queue_line(f"{HEAD}/smtpd[1]: {ID}: client=".encode() + octets)


@pytest.mark.parametrize("start", ["from=<", "to=<", 'to=<"', "client=a[", "client="])
def test_long_lines_take_linear_time(start: str) -> None:
    for filler in ("a", "\\", '"', ",", "[", " sasl_username=", "\\\\"):
        line = f"{HEAD}/smtpd[1]: {ID}: {start}{filler * MAX_OCTETS}".encode()
        for program in (b"/smtpd[", b"/qmgr[", b"/smtp["):
            assert parse_queue_line(line.replace(b"/smtpd[", program)) is None
