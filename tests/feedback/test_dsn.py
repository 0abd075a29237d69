"""Delivery status notices: what the table of the corpus does not show."""

from __future__ import annotations

import pytest

from gatepost.errors import MalformedMessage
from gatepost.feedback.dsn import Dsn, read_dsn
from gatepost.feedback.mime import parse_mime, values

HEAD = """From: MAILER-DAEMON@mx.example.org
Content-Type: multipart/report; report-type=delivery-status; boundary="=_b"

"""
TEXT = """--=_b

The mail was not delivered.

bob@example.org: your mailbox is full

ann@example.org: you are a spammer
"""
RECIPIENT = "Final-Recipient: rfc822; bob@example.org\nAction: failed\nStatus: 5.0.0\n"


def notice(fields: str, *, text: str = TEXT, head: str = HEAD, original: str = "") -> Dsn | None:
    parts = f"{text}--=_b\nContent-Type: message/delivery-status\n\n{fields}"
    shown = f"\n--=_b\nContent-Type: text/rfc822-headers\n\n{original}" if original else ""
    return read_dsn(parse_mime(f"{head}{parts}{shown}\n--=_b--\n".encode()))


def read(fields: str, **keys: str) -> Dsn:
    found = notice(fields, **keys)
    assert found is not None
    return found


def test_what_stands_around_the_recipients() -> None:
    fields = "Reporting-MTA: dns; mx.example.org\nOriginal-Envelope-Id: a+3Db\n\n"
    found = read(fields + RECIPIENT, original="Message-ID: <1@shop.example>\n")
    assert found.reporting_mta == "mx.example.org"
    assert found.envelope_id == "a=b"
    assert found.original is not None
    assert values(found.original, "message-id") == ["<1@shop.example>"]
    assert found.notes == ()


def test_an_envelope_id_has_at_most_100_characters() -> None:
    assert len(read(f"Original-Envelope-Id: {'a' * 500}\n\n{RECIPIENT}").envelope_id) == 100


def test_a_diagnostic_is_kept_without_its_type_and_up_to_500_characters() -> None:
    (recipient,) = read(f"{RECIPIENT}Diagnostic-Code: smtp; 550 {'x' * 600}").recipients
    assert recipient.diagnostic == ("550 " + "x" * 600)[:500]


def test_what_would_act_on_a_terminal_is_taken_out() -> None:
    (recipient,) = read(f"{RECIPIENT}Diagnostic-Code: smtp; 550 \x1b[2J\x9b no").recipients
    assert recipient.diagnostic.isprintable()


@pytest.mark.parametrize(
    ("action", "read_as"),
    [
        ("failed", "failed"),
        ("FAILED", "failed"),
        ("failure", "failed"),
        ("failed (permanently)", "failed"),
        ("delayed", "delayed"),
        ("delivered", "delivered"),
        ("relayed", "relayed"),
        ("expanded", "expanded"),
    ],
)
def test_actions(action: str, read_as: str) -> None:
    found = read(f"Final-Recipient: rfc822; bob@example.org\nAction: {action}\nStatus: 5.1.1\n")
    assert [each.action for each in found.recipients] == [read_as]
    assert (found.recipients[0].classified is None) == (read_as != "failed")
    assert len(found.failed) == (read_as == "failed")
    assert found.notes == ()


@pytest.mark.parametrize(
    ("fields", "read_as"),
    [
        ("Status: 5.1.1", "failed"),
        ("Status: 4.2.1", "delayed"),
        ("Status: 4.4.7", "failed"),
        ("Status: 2.0.0", "delivered"),
        ("Status: 5.4.7\nWill-Retry-Until: Sat, 16 Jan 2027 08:00:00 +0000", "delayed"),
        ("Diagnostic-Code: smtp; 550 no", "failed"),
        ("Action: whatever\nStatus: 5.1.1", "failed"),
        ("Remote-MTA: dns; mx.example.org", ""),
    ],
)
def test_an_action_that_is_not_told(fields: str, read_as: str) -> None:
    found = read(f"Final-Recipient: rfc822; bob@example.org\n{fields}\n", text="--=_b\n\n\n")
    assert [each.action for each in found.recipients] == [read_as]
    assert any(note.startswith("Action is ") for note in found.notes)


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("rfc822; bob@example.org", "bob@example.org"),
        ("RFC822;<bob@example.org>", "bob@example.org"),
        ("bob@example.org", "bob@example.org"),
        ('rfc822; "bob b"@example.org', '"bob b"@example.org'),
        ("rfc822; bob+20@example.org", "bob+20@example.org"),
        (r"utf-8; \x{17E}ofie@example.org", "žofie@example.org"),
        (r"utf-8; \x{1F600}@example.org", "😀@example.org"),
        # No character, a control character, half of one.
        (r"utf-8; \x{110000}b@example.org", r"\x{110000}b@example.org"),
        (r"utf-8; \x{0A}b@example.org", r"\x{0A}b@example.org"),
        (r"utf-8; \x{D800}b@example.org", r"\x{D800}b@example.org"),
        ("rfc822;", ""),
        ("x400; /S=bob/", ""),
    ],
)
def test_addresses(value: str, address: str) -> None:
    found = read(f"Final-Recipient: {value}\nAction: failed\nStatus: 5.1.1\n")
    assert [each.address for each in found.recipients] == [address]


def test_the_address_that_we_had_sent_to() -> None:
    (recipient,) = read(f"Original-Recipient: rfc822; a+2Bb@example.com\n{RECIPIENT}").recipients
    assert recipient.address == "bob@example.org"
    assert recipient.original_address == "a+b@example.com"


def test_without_a_diagnostic_the_text_for_people_counts_where_it_names_the_recipient() -> None:
    other = RECIPIENT.replace("bob", "ann")
    found = read(f"{RECIPIENT}\n{other}\n{RECIPIENT.replace('bob', 'eve')}")
    assert [each.classified.bounce_class for each in found.recipients if each.classified] == [
        *("mailbox-full", "reputation", "unclassified")
    ]
    assert {each.diagnostic for each in found.recipients} == {""}


def test_with_one_recipient_all_of_the_text_counts() -> None:
    found = read(RECIPIENT.replace("bob", "eve"), text="--=_b\n\nThe mailbox is full.\n")
    assert found.recipients[0].classified
    assert found.recipients[0].classified.bounce_class == "mailbox-full"


def test_a_diagnostic_goes_before_the_text() -> None:
    (recipient,) = read(f"{RECIPIENT}Diagnostic-Code: smtp; 550 user unknown").recipients
    assert recipient.classified
    assert recipient.classified.rule == "user-unknown"


@pytest.mark.parametrize(
    ("head", "note"),
    [
        (HEAD.replace("delivery-status", "other"), "report-type is other"),
        (HEAD.replace(" report-type=delivery-status;", ""), "report-type is missing"),
        (HEAD.replace("report; report-type=delivery-status;", "mixed;"), "report-type is missing"),
    ],
)
def test_another_report_type_is_noted(head: str, note: str) -> None:
    assert read(RECIPIENT, head=head).notes == (note,)


def test_a_mail_that_is_the_fields_alone() -> None:
    mail = f"Content-Type: message/delivery-status\n\nReporting-MTA: dns; a\n\n{RECIPIENT}"
    found = read_dsn(parse_mime(mail.encode()))
    assert found is not None
    assert [each.address for each in found.failed] == ["bob@example.org"]


@pytest.mark.parametrize("fields", ["", "Reporting-MTA: dns; mx.example.org\n", "no fields at all"])
def test_nobody_is_told_of(fields: str) -> None:
    assert notice(fields) is None


def test_fields_of_another_kind_of_report_are_none() -> None:
    head = HEAD.replace("delivery-status", "feedback-report")
    mail = f"{head}--=_b\n\n{RECIPIENT}\n--=_b--\n"
    assert read_dsn(parse_mime(mail.encode())) is None


def test_what_stands_once_in_a_block_is_meant_for_all_of_it() -> None:
    fields = "Final-Recipient: rfc822; a@b.example\nFinal-Recipient: rfc822; c@d.example\n"
    found = read(f"{fields}Action: failed\nStatus: 5.1.1\n")
    assert [(each.address, each.action, each.status) for each in found.recipients] == [
        ("a@b.example", "failed", "5.1.1"),
        ("c@d.example", "failed", "5.1.1"),
    ]


def test_a_thousand_recipients_are_read_and_no_more() -> None:
    assert len(read("\n".join([RECIPIENT] * 1000)).recipients) == 1000
    with pytest.raises(MalformedMessage, match="blocks"):
        notice("\n".join([RECIPIENT] * 1001))
