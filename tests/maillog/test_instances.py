"""The log of a lane that is an instance of its own: what is a delivery, and whose it is."""

from __future__ import annotations

import json

import pytest

from gatepost.maillog.events import Renamed, parse_event
from gatepost.maillog.follow import parse_journal
from gatepost.maillog.join import Joiner
from gatepost.maillog.model import Delivery, TlsClass
from gatepost.maillog.stamps import Clock

MAIN, THERE, BACK = "4jYyr36Jwnz3Y", "4jYyr36tdgz3g", "4jYys43rrgz4N"
SENDER = "x@beta.example"
CAME = f"{MAIN}: from=<{SENDER}>, size=352, nrcpt=1 (queue active)"
TAKEN = (
    f"{THERE}: client=localhost[127.0.0.1], orig_queue_id={MAIN}, orig_client=unknown[198.18.0.1]"
)
THERE_ACTIVE = CAME.replace(MAIN, THERE)
HANDED = (
    f"{MAIN}: to=<u@good.example>, relay=mail[../postfix-gp-burst/private/gatepost], delay=0.19, "
    "delays=0.12/0.01/0.03/0.03, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as "
    f"{THERE})"
)
TLS = "Trusted TLS connection established to mx.good.example[198.18.1.1]:25: TLSv1.3 with cipher X"
SENT = (
    f"{THERE}: to=<u@good.example>, relay=mx.good.example[198.18.1.1]:25, delay=0.1, "
    "delays=0/0/0.1/0, dsn=2.0.0, status=sent (250 2.0.0 taken)"
)
CLONE = "postfix-gp-burst/gp-burst-private/smtp"


def lines(*pairs: tuple[str, str]) -> list[bytes]:
    return [
        f"2026-11-24T22:57:{second:02}Z mail {tag}[{7 if 'smtp' in tag else 8}]: {text}".encode()
        for second, (tag, text) in enumerate(pairs)
    ]


HOP = lines(
    ("postfix/qmgr", CAME),
    ("postfix-gp-burst/smtpd", TAKEN),
    ("postfix/gp-burst/lmtp", HANDED),
    ("postfix/qmgr", f"{MAIN}: removed"),
    ("postfix-gp-burst/qmgr", THERE_ACTIVE),
    (CLONE, TLS),
    (CLONE, SENT),
    ("postfix-gp-burst/qmgr", f"{THERE}: removed"),
)


def read(found: list[bytes], joiner: Joiner | None = None) -> list[Delivery]:
    joiner = joiner or Joiner(Clock(1_795_000_000.0))
    return [delivery for each in found if (delivery := joiner.read(each)) is not None]


def test_handing_over_is_no_delivery_and_the_delivery_knows_where_it_came_from() -> None:
    (delivery,) = read(HOP)
    assert (delivery.queue_id, delivery.origin_id, delivery.first_id) == (THERE, MAIN, MAIN)
    assert (delivery.sender, delivery.service) == (SENDER, "gp-burst-private")
    assert (delivery.tls, delivery.version) == (TlsClass.ENCRYPTED, "TLSv1.3")


@pytest.mark.parametrize("left_out", [1, 2])
def test_either_side_of_the_hand_over_tells(left_out: int) -> None:
    """XFORWARD tells nothing of mail of sendmail(1), and lmtp(8) may log later than smtp(8)."""
    (delivery,) = read([each for number, each in enumerate(HOP) if number != left_out])
    assert delivery.first_id == MAIN


def test_what_was_given_back_is_still_the_message_that_came() -> None:
    back = "postfix-gp-burst/gp-back/lmtp"
    given = (
        f"{THERE}: to=<u@good.example>, relay=mail[/var/spool/postfix/private/gatepost-return], "
        f"delay=9, delays=9/0/0/0, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as {BACK})"
    )
    again = SENT.replace(THERE, BACK)
    found = read([*HOP[:5], *lines((back, given), ("postfix/smtp", again))])
    assert [each.first_id for each in found] == [MAIN]


def test_the_way_is_remembered_over_a_restart_and_forgotten_with_the_message() -> None:
    first = Joiner(Clock(1_795_000_000.0))
    assert read(HOP[:4], first) == []
    state = {key: text for key, text in first.changes().items() if text is not None}
    assert state[f"o:{THERE}"] == MAIN
    second = Joiner(Clock(1_795_000_000.0), state=state)
    (delivery,) = read(HOP[4:], second)
    assert delivery.first_id == MAIN
    assert second.changes()[f"o:{THERE}"] is None


def test_no_more_of_them_are_remembered_than_messages() -> None:
    joiner = Joiner(Clock(1_795_000_000.0), max_messages=2)
    for number in range(5):
        text = f"A{number}BCDE: client=f[127.0.0.1], orig_queue_id=Z{number}BCDE, orig_client=x"
        read(lines(("postfix/smtpd", text)), joiner)
    kept = {key for key in joiner.changes() if key.startswith("o:")}
    assert kept == {"o:A3BCDE", "o:A4BCDE"}


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("smtpd", f"{THERE}: client=unknown[198.18.0.1], sasl_method=PLAIN, sasl_username=a"),
        ("smtpd", f"{THERE}: client=x[::1], sasl_username=x, orig_queue_id={MAIN}, orig_client=x"),
        ("smtpd", f"NOQUEUE: reject: , orig_queue_id={MAIN}, "),
        ("lmtp", HANDED.replace("status=sent", "status=deferred")),
        ("lmtp", HANDED.replace("Ok: queued as", "stored as")),
        ("lmtp", f"connect to mail[/x/private/gatepost]: No such file {MAIN}"),
        ("qmgr", "warning: x"),
    ],
)
def test_other_lines_rename_nothing(program: str, text: str) -> None:
    assert not isinstance(parse_event(program, text), Renamed)


def test_lmtp_to_others_is_not_read() -> None:
    mailbox = HANDED.replace("../postfix-gp-burst/private/gatepost", "private/dovecot-lmtp")
    assert read([*HOP[:1], *lines(("postfix/lmtp", mailbox)), *HOP[4:7]])[0].origin_id == ""


@pytest.mark.parametrize(
    ("identifier", "text", "taken"),
    [
        ("postfix-gp-burst/smtpd", TAKEN, True),
        ("postfix/smtpd", "connect from localhost[127.0.0.1]", False),
        ("postfix/gp-burst/lmtp", HANDED, True),
        ("postfix/lmtp", HANDED.replace("gatepost", "dovecot"), False),
    ],
)
def test_the_journal_has_the_same(identifier: str, text: str, taken: bool) -> None:  # noqa: FBT001
    entry = {
        "__CURSOR": "c",
        "__REALTIME_TIMESTAMP": "1795000000000000",
        "SYSLOG_IDENTIFIER": identifier,
        "SYSLOG_PID": "7",
        "MESSAGE": text,
    }
    found, cursor = parse_journal(json.dumps(entry).encode())
    assert (found is not None, cursor) == (taken, "c")
