"""Automatic replies and unsubscriptions: who is told apart from whom."""

from __future__ import annotations

import pytest

from gatepost.feedback.read import EnvelopeFacts, read_mail
from gatepost.feedback.report import Kind, Report
from gatepost.feedback.token import Purpose
from tests.mails import token
from tests.world import KEYS, NOW


def read(
    *headers: str, text: str = "Hello", sender: str | None = None, recipient: str = ""
) -> Report:
    head = "".join(f"{header}\n" for header in ("From: A <a@mailbox.example>", *headers))
    octets = f"{head}\n{text}\n".encode()
    return read_mail(octets, EnvelopeFacts(sender, recipient), KEYS, NOW)


@pytest.mark.parametrize(
    "header",
    [
        "Auto-Submitted: auto-replied",
        "Auto-Submitted: auto-replied (vacation)",
        "Auto-Submitted: AUTO-GENERATED; owner-email=x",
        "X-Autoreply: yes",
        "X-Autorespond: Away",
        "Precedence: auto_reply",
        "X-Mailer: Vacation 1.0",
        "Subject: Out of Office: Spring sale",
        "Subject: Re: Out of the office",
        "Subject: Automatic reply: Spring sale",
        "Subject: Auto: Spring sale",
        "Subject: Autoreply: x",
        "Subject: Automatische Antwort: x",
        "Subject: =?utf-8?q?R=C3=A9ponse_automatique?= : x",
        "Subject: Abwesenheitsnotiz",
        "Subject: Respuesta =?utf-8?q?autom=C3=A1tica?=: x",
        "Subject: =?utf-8?b?6Ieq5YuV6L+U5L+h?=",
    ],
)
def test_automatic_replies(header: str) -> None:
    report = read(header, sender="", recipient=f"{token(Purpose.BOUNCE)}@bounces.example.net")
    assert (report.kind, report.format) == (Kind.AUTO_REPLY, "auto-reply")
    assert report.token is not None
    assert report.recipients == ()


def test_why_a_mail_is_an_automatic_reply_is_told() -> None:
    (note,) = read("Auto-Submitted: auto-notified; owner-email=x@example.org").notes
    assert note == "Auto-Submitted is auto-notified (RFC 3834)"


@pytest.mark.parametrize(
    "header",
    [
        "Auto-Submitted: no",
        "Auto-Submitted:",
        "X-Autoreply: no",
        "Precedence: bulk",
        "Subject: Automatic transmission for sale",
        "Subject: Out of ideas",
        "Subject: Autos: what to buy",
        "Subject: Re: Re: Re: Hello",
    ],
)
def test_what_is_no_automatic_reply(header: str) -> None:
    assert read(header).kind is Kind.UNKNOWN


def unsubscribe_address(**made: int) -> str:
    return f"{token(Purpose.UNSUBSCRIBE, **made)}@fbl.example.net"


@pytest.mark.parametrize("subject", ["unsubscribe", "", "anything at all", "Re: Spring sale"])
def test_any_mail_to_the_address_unsubscribes(subject: str) -> None:
    report = read(
        f"Subject: {subject}", sender="a@mailbox.example", recipient=unsubscribe_address()
    )
    assert (report.kind, report.format) == (Kind.UNSUBSCRIBE, "list-unsubscribe")
    assert report.token is not None
    assert report.token.purpose is Purpose.UNSUBSCRIBE
    assert report.notes == ()


@pytest.mark.parametrize(
    ("header", "sender"),
    [
        ("Subject: unsubscribe", ""),
        ("Auto-Submitted: auto-replied", "a@mailbox.example"),
        ("Subject: Out of office", "a@mailbox.example"),
        ("Return-Path: <>", None),
    ],
)
def test_what_a_machine_answers_unsubscribes_nobody(header: str, sender: str | None) -> None:
    report = read(header, sender=sender, recipient=unsubscribe_address())
    assert report.kind is not Kind.UNSUBSCRIBE


@pytest.mark.parametrize(
    "recipient",
    [
        unsubscribe_address(age_days=61),
        f"{token(Purpose.BOUNCE)}@bounces.example.net",
        f"{token(Purpose.COMPLAINT)}@fbl.example.net",
        "a" * 48 + "@fbl.example.net",
        "fbl@fbl.example.net",
        "",
    ],
)
@pytest.mark.parametrize("header", ["Subject: unsubscribe", "X-Apple-Unsubscribe: true"])
def test_a_wish_without_our_token_is_told_and_proves_nothing(header: str, recipient: str) -> None:
    report = read(header, sender="a@mailbox.example", recipient=recipient)
    assert report.kind is Kind.UNSUBSCRIBE
    assert report.token is None or report.token.purpose is not Purpose.UNSUBSCRIBE
    assert "it came to no address of ours with a token" in report.notes
    assert [each.address for each in report.recipients] == ["a@mailbox.example"]


@pytest.mark.parametrize(
    "header",
    ["Subject: How do I unsubscribe?", "X-Apple-Unsubscribe: false", "Subject: unsubscribed"],
)
def test_what_is_no_wish_to_unsubscribe(header: str) -> None:
    assert read(header, sender="a@mailbox.example").kind is Kind.UNKNOWN
