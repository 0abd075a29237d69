"""What an attempt in the log is worth telling, and under which id."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatepost.decisions.outcomes import MAX_REPLY, events_of, id_of, origin_of
from gatepost.feedback import event_ids
from gatepost.feedback.events import EventKind
from gatepost.feedback.sent import Message
from gatepost.feedback.token import Purpose, Token, day_of, message_id_of, seal_token
from gatepost.maillog.model import Delivery, TlsClass
from tests.world import DAY, KEYS, NOW, snapshot, tenant

HOST, QUEUE_ID, TO = "mail.example", "4Xyz", "u@example.org"
ACME = tenant("acme", senders=("acme.example",))
WORLD = snapshot(ACME)
KEY = message_id_of(HOST, QUEUE_ID)
SENT = Delivery(
    NOW,
    NOW - 1,
    QUEUE_ID,
    "news@acme.example",
    TO,
    "gp-bulk-private",
    "mta5.am0.yahoodns.net",
    "192.0.2.1",
    "sent",
    "2.0.0",
    TlsClass.AUTHENTICATED,
    "TLSv1.3",
    reply="250 ok dirdel",
)
DEAD = replace(
    SENT,
    status="bounced",
    dsn="5.1.1",
    tls=TlsClass.UNKNOWN,
    version="",
    reply="host mx said: 550 5.1.1 user unknown (in reply to RCPT TO command)",
)
WAITS = replace(DEAD, status="deferred", dsn="4.2.0", reply="host mx said: 450 4.2.0 Greylisted")
REFUSED = replace(
    WAITS,
    dsn="4.7.4",
    tls=TlsClass.REFUSED,
    reply="TLS is required, but was not offered by host mx.example[192.0.2.1]",
)
BOOK = Message(
    KEY, NOW - 60, "acme", QUEUE_ID, "News@acme.example", "<1@x>", "spring", "newsletter"
)


def token(made=NOW, number=ACME.number, purpose=Purpose.BOUNCE):
    sealed = seal_token(Token(number, b"12345678", 1, day_of(made)), purpose, KEYS)
    return f"{sealed}@bounces.example"


def told(delivery, message=BOOK):
    return events_of(delivery, origin_of(delivery, HOST, WORLD), message)


def test_the_owner_of_the_sender_domain_is_whose_it_is():
    origin = origin_of(SENT, HOST, WORLD)
    assert (origin.tenant, origin.message, origin.sender) == ("acme", KEY, "news@acme.example")


def test_a_token_tells_tenant_and_message():
    origin = origin_of(replace(SENT, sender=token().upper()), HOST, WORLD)
    assert (origin.tenant, origin.message, origin.sender) == ("acme", b"12345678", "")


@pytest.mark.parametrize(
    "sender",
    [
        None,
        "",
        "postmaster",
        "somebody@elsewhere.example",
        "news@bounces.example",
        token(number=1),
        token(made=NOW - 100 * DAY),
        token(purpose=Purpose.COMPLAINT),
    ],
)
def test_mail_of_nobody_is_nobodys(sender):
    assert origin_of(replace(SENT, sender=sender), HOST, WORLD) is None


@pytest.mark.parametrize("status", ["deliverable", "undeliverable", "expired", ""])
def test_a_probe_of_an_address_is_no_delivery(status):
    assert origin_of(replace(SENT, status=status), HOST, WORLD) is None


def test_what_was_delivered_tells_its_tls():
    (event,) = told(SENT)
    assert event.id == event_ids.delivered_id(KEY.hex(), TO)
    assert (event.kind, event.at, event.tenant) == (EventKind.DELIVERED, NOW, "acme")
    assert (event.message, event.queue_id, event.recipient) == (KEY.hex(), QUEUE_ID, TO)
    assert (event.sender, event.campaign, event.mail_type) == (
        "News@acme.example",
        "spring",
        "newsletter",
    )
    assert event.provider == "yahoodns.net"
    assert event.details == {
        "status": "2.0.0",
        "reply": "250 ok dirdel",
        "relay": "mta5.am0.yahoodns.net[192.0.2.1]",
        "service": "gp-bulk-private",
        "tls": "authenticated",
        "version": "TLSv1.3",
    }


def test_the_book_knows_better_than_the_sender_whose_it_is():
    (event,) = told(SENT, replace(BOOK, tenant="other"))
    assert event.tenant == "other"


def test_without_the_book_there_are_no_labels():
    (event,) = told(SENT, None)
    assert (event.sender, event.campaign, event.mail_type) == ("news@acme.example", "", "")
    (event,) = told(replace(SENT, sender=token()), None)
    assert event.sender == ""


def test_a_failure_has_the_id_of_its_notice_and_its_class():
    (event,) = told(DEAD)
    assert event.id == event_ids.failure_id(KEY.hex(), TO.upper())
    assert event.kind is EventKind.BOUNCED
    assert (event.details["class"], event.details["severity"]) == ("invalid-recipient", "hard")
    assert event.details["rule"]
    assert "tls" not in event.details


def test_a_delay_counts_once_an_hour():
    (event,) = told(WAITS)
    assert event.kind is EventKind.DEFERRED
    assert event.details["class"] == "greylisted"
    later = replace(WAITS, at=NOW + 60)
    assert id_of(later, origin_of(later, HOST, WORLD)) == event.id
    later = replace(WAITS, at=NOW + 3600)
    assert id_of(later, origin_of(later, HOST, WORLD)) != event.id
    (soft,) = told(replace(WAITS, status="SOFTBOUNCE"))
    assert soft.id == event.id


def test_want_of_tls_blocks():
    (event,) = told(REFUSED)
    assert event.kind is EventKind.BLOCKED
    assert id_of(REFUSED, origin_of(REFUSED, HOST, WORLD)) == event.id
    assert event.details["class"] == "tls-required"


def test_mail_given_up_for_want_of_tls_is_blocked_and_has_bounced():
    final = replace(REFUSED, status="bounced", dsn="5.7.4")
    bounced, blocked = told(final)
    assert (bounced.kind, blocked.kind) == (EventKind.BOUNCED, EventKind.BLOCKED)
    assert (
        bounced.id
        == event_ids.failure_id(KEY.hex(), TO)
        == id_of(final, origin_of(final, HOST, WORLD))
    )
    assert bounced.details["severity"] != "hard"


def test_a_failure_without_a_server_has_no_provider():
    (event,) = told(replace(DEAD, host="", address="", dsn="5.4.4", reply="Host not found"))
    assert event.provider == ""
    assert "relay" not in event.details


def test_a_long_reply_is_cut():
    (event,) = told(replace(DEAD, reply="x" * 9000))
    assert len(event.details["reply"]) == MAX_REPLY


def test_a_message_keeps_the_id_by_which_it_came_in():
    """A lane's own instance, or a content filter, has it under another."""
    there = replace(SENT, queue_id="4Other", origin_id=QUEUE_ID)
    (event,) = told(there)
    assert (event.message, event.queue_id) == (KEY.hex(), QUEUE_ID)
    assert event.id == told(SENT)[0].id
