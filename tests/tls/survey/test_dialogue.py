"""What a probe says, when it says nothing, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import LocalProtocolError
from gatepost.tls.survey.dialogue import Close, Dialogue, Send, StartTls, Step
from gatepost.tls.survey.model import Verdict

GREETING = b"220 mx.example ESMTP\r\n"
OFFER = b"250-mx.example\r\n250 STARTTLS\r\n"
PLAIN = b"250-mx.example\r\n250 8BITMIME\r\n"
GO = b"220 go ahead\r\n"
BYE = b"221 bye\r\n"
EOF = b""
TIME_OUT = "time out"
LOST = "lost"
TLS = "tls"
NO_TLS = "no tls"

Event = bytes | str


def converse(events: Iterable[Event]) -> tuple[Dialogue, list[str]]:
    """Return the dialogue, and what it did: what it sent, and TLS and CLOSE."""
    dialogue = Dialogue("survey.example")
    dialogue.connected()
    did: list[str] = []
    for event in events:
        if isinstance(event, bytes):
            dialogue.receive_data(event)
        elif event == TIME_OUT:
            dialogue.time_out()
        elif event == LOST:
            dialogue.connection_lost("ECONNRESET")
        elif event == TLS:
            dialogue.tls_established()
        else:
            dialogue.tls_failed("no shared cipher")
        while (action := dialogue.next_action()) is not None:
            if isinstance(action, Send):
                did.append(action.octets.decode().strip())
            else:
                did.append({StartTls: "TLS", Close: "CLOSE"}[type(action)])
    return dialogue, did


HELLO = "EHLO survey.example"
QUIT = ["QUIT", "CLOSE"]


@pytest.mark.parametrize(
    ("events", "verdict", "did"),
    [
        # RFC 3207 §4.2: EHLO once more; RFC 5321 §4.1.1.10: QUIT.
        ([GREETING, OFFER, GO, TLS, PLAIN, BYE], "tls", [HELLO, "STARTTLS", "TLS", HELLO, *QUIT]),
        ([GREETING, PLAIN, BYE], "none", [HELLO, *QUIT]),
        ([GREETING, b"250-mx\r\n250 starttls\r\n", GO], None, [HELLO, "STARTTLS", "TLS"]),
        # RFC 5321 §4.3.1: nothing is said before the greeting is whole.
        ([b"220-wait\r\n"], None, []),
        ([TIME_OUT], "unknown", ["CLOSE"]),
        ([b"220-wait\r\n", TIME_OUT], "unknown", ["CLOSE"]),
        # Busy, greylisting, blocked: says nothing about TLS, wherever it comes.
        ([b"421 busy\r\n", BYE], "unknown", QUIT),
        ([b"450 greylisted\r\n", BYE], "unknown", QUIT),
        ([b"554 no\r\n", BYE], "unknown", QUIT),
        ([b"250 what\r\n", BYE], "unknown", QUIT),
        ([GREETING, b"421 busy\r\n", BYE], "unknown", [HELLO, *QUIT]),
        ([GREETING, b"450 greylisted\r\n", BYE], "unknown", [HELLO, *QUIT]),
        ([GREETING, b"502 what is EHLO\r\n", BYE], "unknown", [HELLO, *QUIT]),
        ([GREETING, b"554 no\r\n", BYE], "unknown", [HELLO, *QUIT]),
        ([GREETING, OFFER, b"421 busy\r\n", BYE], "unknown", [HELLO, "STARTTLS", *QUIT]),
        ([GREETING, OFFER, b"451 later\r\n", BYE], "unknown", [HELLO, "STARTTLS", *QUIT]),
        # It was offered, and did not work.
        ([GREETING, OFFER, b"454 not now\r\n", BYE], "broken", [HELLO, "STARTTLS", *QUIT]),
        ([GREETING, OFFER, b"502 what\r\n", BYE], "broken", [HELLO, "STARTTLS", *QUIT]),
        ([GREETING, OFFER, GO, NO_TLS], "broken", [HELLO, "STARTTLS", "TLS", "CLOSE"]),
        ([GREETING, OFFER, GO, EOF], "broken", [HELLO, "STARTTLS", "TLS", "CLOSE"]),
        ([GREETING, OFFER, GO, LOST], "broken", [HELLO, "STARTTLS", "TLS", "CLOSE"]),
        ([GREETING, OFFER, GO, TIME_OUT], "broken", [HELLO, "STARTTLS", "TLS", "CLOSE"]),
        ([GREETING, OFFER, EOF], "broken", [HELLO, "STARTTLS", "CLOSE"]),
        ([GREETING, OFFER, TIME_OUT], "broken", [HELLO, "STARTTLS", *QUIT]),
        ([GREETING, OFFER, GO, TLS, EOF], "broken", [HELLO, "STARTTLS", "TLS", HELLO, "CLOSE"]),
        ([GREETING, OFFER, GO, TLS, TIME_OUT], "broken", [HELLO, "STARTTLS", "TLS", HELLO, *QUIT]),
        # TLS works; the rest is another matter.
        ([GREETING, OFFER, GO, TLS, b"421 x\r\n", BYE], "tls",
         [HELLO, "STARTTLS", "TLS", HELLO, *QUIT]),
        ([GREETING, OFFER, GO, TLS, PLAIN, EOF], "tls", [HELLO, "STARTTLS", "TLS", HELLO, *QUIT]),
        ([GREETING, OFFER, GO, TLS, PLAIN, LOST], "tls", [HELLO, "STARTTLS", "TLS", HELLO, *QUIT]),
        ([GREETING, OFFER, GO, TLS, PLAIN, TIME_OUT], "tls",
         [HELLO, "STARTTLS", "TLS", HELLO, *QUIT]),
        # Octets behind the 220 would be taken for something said within TLS.
        ([GREETING, OFFER, GO + b"250 AUTH PLAIN\r\n"], "injected", [HELLO, "STARTTLS", "CLOSE"]),
        ([GREETING, OFFER, GO + b"2"], "injected", [HELLO, "STARTTLS", "CLOSE"]),
        ([GREETING, OFFER, GO, b"250 AUTH\r\n"], "injected", [HELLO, "STARTTLS", "TLS", "CLOSE"]),
        # Somebody on the way overwrites the keyword.
        ([GREETING, b"250-mx\r\n250-XXXXXXXA\r\n250 SIZE\r\n", BYE], "stripped", [HELLO, *QUIT]),
        ([GREETING, b"250-mx\r\n250 XXXXXXXX\r\n", BYE], "stripped", [HELLO, *QUIT]),
        ([GREETING, b"250-mx\r\n250 X-EXPS\r\n", BYE], "none", [HELLO, *QUIT]),
        # The first line is the server's name, not a keyword.
        ([GREETING, b"250-STARTTLS\r\n250 SIZE\r\n", BYE], "none", [HELLO, *QUIT]),
        # Not SMTP, and more than was asked for.
        ([b"HTTP/1.1 400 Bad Request\r\n"], "unknown", QUIT),
        ([GREETING + b"220 again\r\n"], "unknown", QUIT),
        ([GREETING, OFFER + b"250 more\r\n"], "unknown", [HELLO, *QUIT]),
        ([GREETING, b"x" * 10_000], "unknown", [HELLO, *QUIT]),
        ([b"220 " + b"x" * 10_000_000], "unknown", QUIT),
        ([EOF], "unknown", ["CLOSE"]),
        ([LOST], "unknown", ["CLOSE"]),
        ([GREETING, EOF], "unknown", [HELLO, "CLOSE"]),
        ([GREETING, TIME_OUT], "unknown", [HELLO, *QUIT]),
    ],
)  # fmt: skip
def test_verdicts(events: list[Event], verdict: str | None, did: list[str]) -> None:
    dialogue, done = converse(events)
    assert done == did
    if verdict is None:
        assert not dialogue.over
    else:
        assert dialogue.over
        assert dialogue.verdict == verdict
        assert bool(dialogue.reason) is (verdict not in {"tls", "none"} or b"421 x\r\n" in events)


def test_the_raw_replies_are_kept() -> None:
    dialogue, _ = converse([GREETING, OFFER, GO, TLS, PLAIN, BYE])
    assert (dialogue.greeting, dialogue.ehlo, dialogue.ehlo_tls) == (
        GREETING.decode(), OFFER.decode(), PLAIN.decode(),
    )  # fmt: skip


def test_no_connection_is_not_unknown() -> None:
    for end in (Dialogue.time_out, lambda dialogue: dialogue.not_connected("ECONNREFUSED")):
        dialogue = Dialogue("survey.example")
        end(dialogue)
        assert dialogue.over
        assert dialogue.verdict is Verdict.UNREACHABLE
        assert isinstance(dialogue.next_action(), Close)


def test_what_comes_after_the_end_changes_nothing() -> None:
    dialogue, _ = converse([GREETING, PLAIN, BYE])
    for late in (OFFER, EOF):
        dialogue.receive_data(late)
    dialogue.time_out()
    dialogue.connection_lost("ECONNRESET")
    assert (dialogue.verdict, dialogue.next_action()) == (Verdict.NONE, None)


def test_wrong_use_is_noticed() -> None:
    dialogue, _ = converse([GREETING])
    for wrong in (dialogue.connected, dialogue.tls_established):
        with pytest.raises(LocalProtocolError):
            wrong()
    with pytest.raises(LocalProtocolError):
        dialogue.tls_failed("x")
    with pytest.raises(LocalProtocolError):
        dialogue.not_connected("x")


SERVER = st.one_of(
    st.sampled_from([GREETING, OFFER, PLAIN, GO, BYE, EOF, TIME_OUT, LOST, b"421 x\r\n"]),
    st.binary(min_size=1, max_size=40),
    st.builds(lambda code, text: b"%d %s\r\n" % (code, text), st.integers(200, 599), st.binary()),
)


@pytest.mark.fuzz
@given(st.lists(SERVER, max_size=12))
def test_whatever_a_server_does(events: list[Event]) -> None:
    dialogue = Dialogue("survey.example")
    dialogue.connected()
    said: list[bytes] = []
    for event in events:
        if event == TIME_OUT:
            dialogue.time_out()
        elif event == LOST:
            dialogue.connection_lost("ECONNRESET")
        elif isinstance(event, bytes):
            dialogue.receive_data(event)
        while (action := dialogue.next_action()) is not None:
            if isinstance(action, Send):
                said.append(action.octets)
            elif isinstance(action, StartTls):
                # What was there before the 220 was all that there was.
                assert dialogue.step is Step.HANDSHAKE
                dialogue.tls_established()
    allowed = [b"EHLO survey.example\r\n", b"STARTTLS\r\n", b"EHLO survey.example\r\n", b"QUIT\r\n"]
    # Never MAIL, RCPT or anything else, and nothing twice; in this order, with gaps.
    rest = iter(allowed)
    assert all(word in rest for word in said)
    if dialogue.verdict is Verdict.NONE:
        # Nobody is said to have no TLS who has not answered EHLO in good order.
        assert dialogue.ehlo.startswith("2")
        assert "STARTTLS" not in [line[4:] for line in dialogue.ehlo.upper().splitlines()[1:]]
    assert dialogue.reason.isascii()
