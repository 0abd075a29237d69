"""Which lines of the log tell of a message that was refused after its end."""

from __future__ import annotations

import pytest

from gatepost.maillog.refusals import refused_messages

TAIL = b"from client.example[192.0.2.1]: 5.7.1 no; from=<a@x> to=<b@y> proto=ESMTP helo=<c>"
OLD = b"Nov 24 08:00:01 mail postfix/cleanup[77]: "
NEW = b"<22>2026-11-24T08:00:01.123456+01:00 mail postfix-out/cleanup[77]: "


@pytest.mark.parametrize("head", [OLD, NEW])
@pytest.mark.parametrize(
    "what",
    [
        b"milter-reject: END-OF-MESSAGE ",
        b"reject: END-OF-MESSAGE ",
        b"reject: header Subject: buy ",
        b"reject: body buy ",
        b"reject: nested-header Subject: buy ",
        b"reject: mime-header Content-Type: x ",
    ],
)
def test_a_message_that_was_refused(head: bytes, what: bytes) -> None:
    assert refused_messages([head + b"4dGfzT0Nz1z2: " + what + TAIL]) == ["4dGfzT0Nz1z2"]


def test_a_restriction_at_a_listener_of_another_name() -> None:
    head = b"Nov 24 08:00:01 mail postfix/submission/smtpd[7]: "
    assert refused_messages([head + b"4dGfzT0Nz1z2: reject: END-OF-MESSAGE " + TAIL]) == [
        "4dGfzT0Nz1z2"
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        OLD + b"4dGfzT0Nz1z2: milter-reject: RCPT " + TAIL,
        OLD + b"4dGfzT0Nz1z2: message-id=<milter-reject: END-OF-MESSAGE >",
        OLD + b"4dGfzT0Nz1z2: warning: header Subject: 4dGfzT0Nz1z3: reject: header x",
        OLD + b"4dGfzT0Nz1z2: milter-header-add: x: 4dGfzT0Nz1z3: milter-reject: END-OF-MESSAGE ",
        b"Nov 24 08:00:01 mail postfix/smtpd[7]: x/cleanup[1]: 4dGfzT0Nz1z2: reject: body x",
        b"Nov 24 08:00:01 mail postfix/smtpd[7]: NOQUEUE: reject: RCPT " + TAIL,
        OLD + b"4dGfzT0Nz1z2: milter-reject: END-OF-MESSAGE",
    ],
)
def test_everything_else(line: bytes) -> None:
    assert refused_messages([line]) == []
