"""Notices are bounces only if somebody failed, and are read in the order that is stated."""

from __future__ import annotations

import pytest

from gatepost.feedback.read import EnvelopeFacts, read_mail
from gatepost.feedback.report import Kind, Report, Severity
from gatepost.feedback.token import Purpose
from tests.mails import CORPUS, MESSAGE, corpus, corpus_files, token
from tests.world import KEYS, NOW

FAILED = "Final-Recipient: rfc822; a@isp.example\nAction: failed\nStatus: 5.1.1\n"
DELAYED = "Final-Recipient: rfc822; b@isp.example\nAction: delayed\nStatus: 4.4.1\n"
DELIVERED = "Final-Recipient: rfc822; c@isp.example\nAction: delivered\nStatus: 2.0.0\n"


def notice(*blocks: str, head: str = "", message: str = "", original: str = "") -> bytes:
    shown = f"--b\nContent-Type: message/rfc822\n\n{original}\n" if original else ""
    return (
        "From: MAILER-DAEMON@mx.isp.example\nSubject: Undelivered Mail Returned to Sender\n"
        f"Auto-Submitted: auto-replied\n{head}"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
        "--b\n\nThis is the mail system.\n--b\nContent-Type: message/delivery-status\n\n"
        f"Reporting-MTA: dns; mx.isp.example\n{message}\n" + "\n".join(blocks) + f"\n{shown}--b--\n"
    ).encode()


def read(octets: bytes, recipient: str = "", sender: str | None = "") -> Report:
    return read_mail(octets, EnvelopeFacts(sender, recipient), KEYS, NOW)


def expected() -> dict[str, tuple[str, set[str]]]:
    """Return for each mail with a notice how it is read, and its actions."""
    found: dict[str, tuple[str, set[str]]] = {}
    for line in (CORPUS / "bounces" / "EXPECTED").read_text(encoding="utf-8").splitlines():
        fields = [field.strip() for field in line.split("|")]
        if not line.startswith("#") and len(fields) > 3:
            found.setdefault(fields[0], (fields[1], set()))[1].add(fields[3])
    return found


@pytest.mark.parametrize("name", corpus_files("bounces"))
def test_each_notice_of_the_corpus_is_read_as_what_it_is(name: str) -> None:
    read_by, actions = expected().get(name.partition("/")[2], ("none", set()))
    report = read(corpus(name), sender=None)
    if read_by == "none":
        assert report.kind in {Kind.AUTO_REPLY, Kind.UNKNOWN}
        assert report.format in {"auto-reply", "unknown"}
        return
    assert report.format == ("dsn" if read_by == "dsn" else "bounce-text")
    assert report.kind is (Kind.BOUNCE if "failed" in actions else Kind.AUTO_REPLY)


def test_who_failed_makes_a_bounce() -> None:
    report = read(notice(FAILED, DELAYED), f"{token(Purpose.BOUNCE)}@bounces.example.net")
    assert (report.kind, report.format, report.reporter) == (Kind.BOUNCE, "dsn", "mx.isp.example")
    assert [(each.address, each.action) for each in report.recipients] == [
        ("a@isp.example", "failed"),
        ("b@isp.example", "delayed"),
    ]
    first, second = report.recipients
    assert first.classified is not None
    assert first.classified.severity is Severity.HARD
    assert second.classified is None
    assert report.token is not None
    assert (report.token.purpose, report.token.where) == (Purpose.BOUNCE, "envelope recipient")
    assert report.notes == ()


@pytest.mark.parametrize(
    ("blocks", "told"),
    [
        ([DELAYED], "delayed"),
        ([DELIVERED], "delivered"),
        ([DELAYED, DELIVERED], "delayed and delivered"),
        (["Final-Recipient: rfc822; a@isp.example\nAction: x\nStatus: y\n"], "nothing"),
        ([DELAYED, "Final-Recipient: rfc822; a@isp.example\nAction: x\nStatus: y\n"], "delayed"),
    ],
)
def test_a_notice_of_nobody_who_failed_is_no_bounce(blocks: list[str], told: str) -> None:
    report = read(notice(*blocks), f"{token(Purpose.BOUNCE)}@bounces.example.net")
    assert (report.kind, report.format) == (Kind.AUTO_REPLY, "dsn")
    assert report.notes[-1] == f"nobody failed, so this is no bounce: it tells of {told}"
    assert report.token is not None


def test_the_token_is_found_in_the_envid_and_in_the_original() -> None:
    by_envid = read(notice(FAILED, message=f"Original-Envelope-Id: {token(Purpose.BOUNCE)}\n"))
    assert by_envid.token is not None
    assert by_envid.token.where == "Original-Envelope-Id"
    original = f"Return-Path: <{token(Purpose.BOUNCE)}@bounces.example.net>\nFrom: a@b.example\n"
    by_original = read(notice(FAILED, original=original))
    assert by_original.token is not None
    assert by_original.token.where == "Return-Path"
    assert by_original.original.sender == "a@b.example"


def test_a_bounce_that_follows_no_standard() -> None:
    octets = (
        "From: MAILER-DAEMON@isp.example\nSubject: failure notice\n\n"
        "Hi. This is the qmail-send program at isp.example.\n"
        "I'm afraid I wasn't able to deliver your message to the following addresses.\n\n"
        "<gone@isp.example>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n"
        "--- Below this line is a copy of the message.\n\n"
        f"Return-Path: <{token(Purpose.BOUNCE)}@bounces.example.net>\n"
        "From: news@acme.example\nMessage-ID: <1@acme.example>\n\nHello\n"
    ).encode()
    report = read(octets)
    assert (report.kind, report.format) == (Kind.BOUNCE, "bounce-text")
    assert [each.address for each in report.recipients] == ["gone@isp.example"]
    assert report.original.message_id == "<1@acme.example>"
    assert report.token is not None
    assert report.token.token.message == MESSAGE


def test_a_delay_in_words_is_no_bounce() -> None:
    octets = (
        b"From: postmaster@isp.example\nSubject: Delivery delayed\nReturn-Path: <>\n\n"
        b"Delivery to the following recipient has been delayed:\n\n     slow@isp.example\n"
    )
    report = read(octets)
    assert report.kind is Kind.AUTO_REPLY
    assert report.format == "bounce-text"


def test_a_bounce_to_an_unsubscribe_address_unsubscribes_nobody() -> None:
    address = f"{token(Purpose.UNSUBSCRIBE)}@fbl.example.net"
    for sender in ("", "MAILER-DAEMON@mx.isp.example", None):
        report = read(notice(FAILED), address, sender)
        assert report.kind is Kind.BOUNCE


def test_a_vacation_note_that_quotes_a_bounce_is_none() -> None:
    octets = (
        b"From: a@isp.example\nSubject: Out of office\nAuto-Submitted: auto-replied\n\n"
        b"The following address failed:\n  a@isp.example\n550 5.1.1 user unknown\n"
    )
    assert read(octets).kind is Kind.AUTO_REPLY


def test_a_complaint_goes_before_a_notice() -> None:
    inner = notice(FAILED).decode()
    octets = (
        "From: a@isp.example\nContent-Type: multipart/report; report-type=feedback-report; "
        "boundary=o\n\n--o\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\n"
        f"--o\n{inner}\n--o--\n"
    ).encode()
    assert read(octets).kind is Kind.COMPLAINT
