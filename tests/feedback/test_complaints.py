"""Complaints are read in every form in which they come; each file of the corpus has a row."""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

import pytest

from gatepost.errors import MalformedMessage
from gatepost.feedback.read import EnvelopeFacts, read_mail
from gatepost.feedback.report import Kind, Report
from gatepost.feedback.token import Purpose
from tests.mails import MESSAGE, TENANT, corpus, corpus_files, fill, token
from tests.world import KEYS, NOW

READER = ("reader@mailbox.example",)
COMPLAINT, BOUNCE, UNSUBSCRIBE = Purpose.COMPLAINT, Purpose.BOUNCE, Purpose.UNSUBSCRIBE


class Row(NamedTuple):
    kind: Kind
    format: str
    feedback_type: str
    recipients: tuple[str, ...]
    token: tuple[Purpose, str] | None
    notes: tuple[str, ...] = ()


TOKEN_HEADER = (COMPLAINT, "X-Gatepost-Token")
FROM_TO = "the recipient was taken from To: of the original"
NOT_SHOWN = "the recipient was redacted"
NO_TOKEN_ADDRESS = "it came to no address of ours with a token"

ROWS = {
    "yahoo-like": Row(Kind.COMPLAINT, "arf", "abuse", READER, TOKEN_HEADER),
    "microsoft-2026-like": Row(
        Kind.COMPLAINT, "jmrp", "abuse", ("",), TOKEN_HEADER, (FROM_TO, NOT_SHOWN)
    ),
    "jmrp-old": Row(
        *(Kind.COMPLAINT, "jmrp", "abuse", ("reader@hotmail.example",), TOKEN_HEADER),
        ("the recipient was taken from x-hmxmroriginalrecipient of the original",),
    ),
    "validity-like": Row(
        *(Kind.COMPLAINT, "arf", "abuse", ("",), TOKEN_HEADER),
        ("the recipient is given as a hash at cable.example",),
    ),
    "comcast-like": Row(
        *(Kind.COMPLAINT, "arf", "abuse", ("",), TOKEN_HEADER),
        (NOT_SHOWN, "500 incidents are claimed; one complaint counts once"),
    ),
    "cfbl-minimal": Row(Kind.COMPLAINT, "cfbl", "abuse", (), (COMPLAINT, "CFBL-Feedback-ID")),
    "cfbl-address": Row(Kind.COMPLAINT, "cfbl", "abuse", READER, (COMPLAINT, "CFBL-Feedback-ID")),
    "headers-only": Row(Kind.COMPLAINT, "arf", "abuse", READER, TOKEN_HEADER, (FROM_TO,)),
    "no-fields-part": Row(
        *(Kind.COMPLAINT, "arf", "", READER, TOKEN_HEADER),
        ("the report has no fields; it is taken for a complaint", FROM_TO),
    ),
    "no-user-agent": Row(
        *(Kind.COMPLAINT, "arf", "abuse", READER, TOKEN_HEADER),
        (
            "the mail is not declared as a feedback report",
            "user-agent is missing",
            "version is missing",
        ),
    ),
    "wrong-types": Row(
        *(Kind.COMPLAINT, "arf", "abuse", READER, TOKEN_HEADER),
        ("the fields are in a part of type text/plain", FROM_TO),
    ),
    "no-original": Row(
        *(Kind.COMPLAINT, "arf", "abuse", READER, (BOUNCE, "Original-Envelope-Id")),
        ("no complaint token; the bounce token only identifies",),
    ),
    "several-recipients": Row(
        *(Kind.COMPLAINT, "arf", "abuse", ("a@isp.example", "b@isp.example", ""), TOKEN_HEADER),
        (NOT_SHOWN, "3 incidents are claimed; one complaint counts once"),
    ),
    "type-fraud": Row(Kind.COMPLAINT, "arf", "fraud", READER, TOKEN_HEADER),
    "type-spam": Row(Kind.COMPLAINT, "arf", "spam", READER, TOKEN_HEADER),
    "type-opt-out": Row(
        Kind.UNSUBSCRIBE, "arf", "opt-out", READER, (UNSUBSCRIBE, "List-Unsubscribe")
    ),
    "type-not-spam": Row(Kind.NOT_SPAM, "arf", "not-spam", READER, TOKEN_HEADER),
    **{
        f"type-{name}": Row(
            *(Kind.UNKNOWN, "arf", name, READER, TOKEN_HEADER),
            (f"nothing follows from a report of type {name}",),
        )
        for name in ("virus", "other", "x-new-type")
    },
    "auth-failure": Row(Kind.AUTH_FAILURE, "arf", "auth-failure", READER, TOKEN_HEADER),
    "both-dates": Row(
        *(Kind.COMPLAINT, "arf", "abuse", READER, TOKEN_HEADER),
        (
            "user-agent stands 2 times",
            "there are Arrival-Date and Received-Date",
            "Incidents is no number",
        ),
    ),
    "report-about-report": Row(
        *(Kind.UNKNOWN, "arf", "abuse", ("abuse@isp.example",), None),
        (FROM_TO, "a report about a report is ignored (RFC 6650)"),
    ),
    "xarf-v1": Row(Kind.COMPLAINT, "xarf", "spam", READER, TOKEN_HEADER),
    "xarf-v4-scan": Row(
        *(Kind.UNKNOWN, "xarf", "port_scan", (), None),
        ("nothing follows from a report of connection port_scan",),
    ),
    "unsubscribe-mail": Row(Kind.UNSUBSCRIBE, "list-unsubscribe", "", READER, (UNSUBSCRIBE, "To")),
    "apple-unsubscribe": Row(
        *(Kind.UNSUBSCRIBE, "apple-unsubscribe", "", ("reader@icloud.example",)),
        (UNSUBSCRIBE, "To"),
    ),
    "vacation-sieve": Row(
        *(Kind.AUTO_REPLY, "auto-reply", "", (), (BOUNCE, "To")),
        ("a vacation program sent it",),
    ),
    "out-of-office": Row(
        *(Kind.AUTO_REPLY, "auto-reply", "", (), (BOUNCE, "To")),
        ("its subject is that of an automatic reply",),
    ),
    "receipt": Row(
        *(Kind.AUTO_REPLY, "auto-reply", "", (), (BOUNCE, "To")), ("a receipt (RFC 8098)",)
    ),
    "tls-report": Row(Kind.TLS_REPORT, "tlsrpt", "", (), None),
    "person": Row(Kind.UNKNOWN, "unknown", "", (), None),
}


def read(octets: bytes, sender: str | None = None, recipient: str = "") -> Report:
    return read_mail(octets, EnvelopeFacts(sender, recipient), KEYS, NOW)


def row_of(report: Report) -> Row:
    found = report.token
    return Row(
        report.kind,
        report.format,
        report.feedback_type,
        tuple(each.address for each in report.recipients),
        None if found is None else (found.purpose, found.where),
        report.notes,
    )


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_corpus(name: str, end: str) -> None:
    report = read(corpus(f"feedback/{name}.eml").replace(b"\n", end.encode()))
    assert row_of(report) == ROWS[name]
    if report.token is not None:
        assert (report.token.token.tenant, report.token.token.message) == (TENANT, MESSAGE)


def test_each_file_of_the_corpus_has_a_row() -> None:
    assert corpus_files("feedback") == sorted(f"feedback/{name}.eml" for name in ROWS)


def test_what_is_shown_of_the_original() -> None:
    original = read(corpus("feedback/yahoo-like.eml")).original
    assert original.message_id == "<20270111075900.1234@acme.example>"
    assert original.sender == "news@acme.example"
    assert original.feedback_id == "cspring:mpromotion:tacme:examplesp"


def test_incidents_are_told_and_do_not_multiply() -> None:
    report = read(corpus("feedback/comcast-like.eml"))
    assert report.incidents == 500
    assert len(report.recipients) == 1


def test_the_reporter_is_the_domain_of_the_author() -> None:
    octets = corpus("feedback/yahoo-like.eml")
    assert read(octets).reporter == "arf.mailbox.example"
    # Who could be read in two ways is nobody.
    two = octets.replace(b"From: Mailbox", b"From: <a@other.example>\nFrom: Mailbox", 1)
    assert read(two).reporter == ""
    both = octets.replace(b"From: Mailbox", b"From: <a@other.example>, Mailbox", 1)
    assert read(both).reporter == ""


def arf(fields: str, original: str = "From: news@acme.example\n\nHello", top: str = "") -> bytes:
    return (
        f"From: abuse@isp.example\n{top}Content-Type: multipart/report; "
        "report-type=feedback-report; boundary=b\n\n"
        f"--b\nContent-Type: message/feedback-report\n\n{fields}\n"
        f"--b\nContent-Type: message/rfc822\n\n{original}\n--b--\n"
    ).encode()


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("reader@isp.example", "reader@isp.example"),
        ("<reader@isp.example>", "reader@isp.example"),
        ("rfc822; Reader@ISP.example", "Reader@ISP.example"),
        ("RFC822;<reader@isp.example>", "reader@isp.example"),
        ("utf-8; rédigé@isp.example", "rédigé@isp.example"),
        ("The Reader <reader@isp.example> (her)", "reader@isp.example"),
        ('"a b"@isp.example', '"a b"@isp.example'),
        ("reader@isp.example.", "reader@isp.example"),
        ("x@isp.example", "x@isp.example"),
        ("redactor@isp.example", "redactor@isp.example"),
        ("", ""),
        ("redacted", ""),
        ("[redacted]@isp.example", ""),
        ("REDACTED@isp.example", ""),
        ("r****@isp.example", ""),
        ("xxxx@isp.example", ""),
        ("hidden@isp.example", ""),
        ("a@redacted.invalid", ""),
        ("5d41402abc4b2a76b9719d911017c592@isp.example", ""),
        (f"{'a1' * 32}@isp.example", ""),
        ("x" * 400 + "@isp.example", ""),
    ],
)
def test_recipients_as_they_are_written(written: str, address: str) -> None:
    report = read(arf(f"Feedback-Type: abuse\nOriginal-Rcpt-To: {written}"))
    assert [each.address for each in report.recipients] == [address]


def test_recipients_that_are_told_twice_are_one() -> None:
    fields = "Feedback-Type: abuse\n" + "Original-Rcpt-To: a@isp.example\n" * 3
    assert len(read(arf(fields)).recipients) == 1


def test_a_note_is_told_once() -> None:
    fields = "Feedback-Type: abuse\nUser-Agent: x\nVersion: 1\n"
    report = read(arf(fields + "Original-Rcpt-To: redacted\n" * 3))
    assert report.notes == ("the recipient was redacted",)


@pytest.mark.parametrize("body", ["From: a@b.example\n\nHello", "To: x\nFrom: a@b.example\ntext"])
def test_text_that_shows_a_field_is_no_original(body: str) -> None:
    octets = arf("Feedback-Type: abuse").replace(b"message/rfc822\n\nFrom: news@acme.example", b"")
    report = read(octets.replace(b"Hello", body.encode()))
    assert report.original.sender == ""


def test_a_list_of_recipients_in_the_original_tells_nothing() -> None:
    octets = arf("Feedback-Type: abuse", "From: a@acme.example\nTo: b@c.example, d@e.example\n\nx")
    assert read(octets).recipients == ()


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ("Feedback-Type: ABUSE (spam)", Kind.COMPLAINT),
        ("feedback-type: abuse;", Kind.COMPLAINT),
        ("Feedback-Type:\n abuse", Kind.COMPLAINT),
        ("\n\nFeedback-Type: abuse\n\nVersion: 1", Kind.COMPLAINT),
        ("Feedback-Type:", Kind.COMPLAINT),
        ("Version: 1", Kind.COMPLAINT),
        ("Feedback-Type: not-spam\nFeedback-Type: abuse", Kind.NOT_SPAM),
        ("Feedback-Type: not-spam", Kind.NOT_SPAM),
        ("Feedback-Type: opt-out-list", Kind.UNSUBSCRIBE),
        ("Feedback-Type: \u00fc", Kind.COMPLAINT),
    ],
)
def test_types_as_they_are_written(fields: str, kind: Kind) -> None:
    assert read(arf(fields)).kind is kind


def test_fields_alone_are_a_report() -> None:
    report = read(
        b"From: a@isp.example\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse"
    )
    assert (report.kind, report.format) == (Kind.COMPLAINT, "arf")


def test_a_declared_report_of_nothing_is_a_complaint_about_nothing() -> None:
    report = read(
        b"From: a@isp.example\nContent-Type: multipart/report; report-type=feedback-report\n\nx"
    )
    assert (report.kind, report.token, report.recipients) == (Kind.COMPLAINT, None, ())


def test_a_forwarded_report_is_not_one() -> None:
    inner = corpus("feedback/yahoo-like.eml").decode()
    report = read(f"From: a@isp.example\nContent-Type: message/rfc822\n\n{inner}".encode())
    assert (report.kind, report.token) == (Kind.UNKNOWN, None)


@pytest.mark.parametrize(
    ("address", "recipient", "expected"),
    [
        ("cfbl@fbl.example.net; report=arf", "cfbl@fbl.example.net", "cfbl"),
        ("cfbl@fbl.example.net", "CFBL@FBL.example.net", "cfbl"),
        ("cfbl@fbl.example.net", "other@fbl.example.net", "arf"),
        ("nonsense", "", "arf"),
        ("nonsense", "nonsense", "arf"),
    ],
)
def test_a_report_to_the_address_that_asked_for_it_is_cfbl(
    address: str, recipient: str, expected: str
) -> None:
    octets = arf("Feedback-Type: abuse", f"From: a@acme.example\nCFBL-Address: {address}\n\nx")
    assert read(octets, "", recipient).format == expected


OURS = "From: news@acme.example\nX-Gatepost-Token: @COMPLAINT@\n"
IN_PARTS = "Content-Type: multipart/mixed; boundary=zz\n\n"
DEEP = "".join(
    f"Content-Type: multipart/mixed; boundary=z{n}\n\n--z{n}\n" for n in range(20)
)  # fmt: skip


@pytest.mark.parametrize(
    "original",
    [
        OURS + "Content-Type: multipart/report; report-type=feedback-report\n\nx",
        OURS + IN_PARTS + "--zz\nContent-Type: message/feedback-report\n\nVersion: 1\n--zz--",
        OURS + IN_PARTS + "--zz\nContent-Type: application/tlsrpt+json\n\n{}\n--zz--",
        OURS + IN_PARTS + "--zz\n\nx\n" * 200,
        OURS + DEEP,
        "".join(f"X-{n}: x\n" for n in range(1200)) + OURS + "\nx",
        "".join(f"X-{n}: {'x' * 7000}\n" for n in range(20)) + OURS + "\nx",
        OURS + "".join(f"X-{n}: {'x' * 7000}\n" for n in range(20)) + "\nx",
    ],
    ids=["declared", "report", "tlsrpt", "parts", "deep", "fields", "before", "behind"],
)
def test_no_form_of_the_original_keeps_a_complaint_from_being_read(original: str) -> None:
    """A tenant gives its mail what form it likes."""
    octets = arf("Feedback-Type: abuse\nUser-Agent: x\nVersion: 1", original)
    report = read(fill(octets.decode()))
    assert (report.kind, report.format) == (Kind.COMPLAINT, "arf")
    assert report.token is not None
    assert report.token.where == "X-Gatepost-Token"


def test_no_form_of_the_original_hides_a_bounce() -> None:
    octets = b"\n".join(
        (
            (
                b"From: mailer-daemon@mx.example\nContent-Type: multipart/report;"
                b" report-type=delivery-status; boundary=b\n\n--b"
            ),
            b"Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example\n",
            b"Final-Recipient: rfc822; u@b.example\nAction: failed\nStatus: 5.1.1\n\n--b",
            b"Content-Type: message/rfc822\n\nX-HmXmrOriginalRecipient: u@b.example",
            b"From: news@acme.example\n\nx\n--b--\n",
        )
    )
    assert read(octets).kind is Kind.BOUNCE


def test_a_subject_of_jmrp_from_anybody_is_none() -> None:
    octets = corpus("feedback/jmrp-old.eml").replace(b"X-HmXmrOriginalRecipient", b"X-Other")
    assert read(octets).format == "jmrp"
    other = octets.replace(b"staff@hotmail.com", b"staff@hotmail.com.example")
    assert read(other).format == "unknown"


def xarf(data: Any, feedback_type: str = "xarf") -> bytes:
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return (
        b"From: a@isp.example\nContent-Type: multipart/report; report-type=feedback-report; "
        b"boundary=b\n\n--b\nContent-Type: message/feedback-report\n\nFeedback-Type: "
        + feedback_type.encode()
        + b"\n--b\nContent-Type: application/json\nContent-Transfer-Encoding: base64\n\n"
        + base64.encodebytes(text)
        + b"--b--\n"
    )


SPAM = {"xarf_version": "4.0.0", "category": "messaging", "type": "spam"}


def evidence(text: str, **more: Any) -> dict[str, Any]:
    payload = base64.b64encode(fill(text)).decode()
    return {**SPAM, "evidence": [{"content_type": "message/rfc822", "payload": payload}], **more}


def test_xarf_4_with_its_evidence() -> None:
    report = read(
        xarf(
            evidence(
                "From: news@acme.example\nCFBL-Feedback-ID: @COMPLAINT@\n\nx", smtp_to="b@c.example"
            )
        )
    )
    assert row_of(report) == Row(
        Kind.COMPLAINT, "xarf", "spam", ("b@c.example",), (COMPLAINT, "CFBL-Feedback-ID")
    )
    assert report.original.sender == "news@acme.example"


def test_xarf_3_with_its_attachment() -> None:
    payload = base64.b64encode(
        fill("From: a@b.example\nX-Gatepost-Token: @COMPLAINT@\n\nx")
    ).decode()
    report = read(
        xarf(
            {
                "Version": "3.0.0",
                "Report": {
                    "ReportClass": "Messaging",
                    "ReportType": "spam",
                    "Attachment": [7, {"ContentType": "message/rfc822", "Data": payload}],
                    "AdditionalInfo": {"SMTPFrom": f"{token(BOUNCE)}@bounces.example.net"},
                },
            }
        )
    )
    assert row_of(report) == Row(Kind.COMPLAINT, "xarf", "spam", (), TOKEN_HEADER)


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b'"text"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"1" * 10_000 + b"}",
        b"\xff\xfe{}",
        b"",
    ],
)
def test_xarf_that_cannot_be_read_says_so(data: bytes) -> None:
    report = read(xarf(data))
    assert (report.kind, report.format) == (Kind.UNKNOWN, "xarf")
    assert report.notes == ("the JSON of the report cannot be read",)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"Report": []},
        {"Report": {"ReportType": 7}},
        {**SPAM, "category": "connection"},
        {**SPAM, "type": ["spam"]},
        {"category": "copyright", "type": "copyright"},
    ],
)
def test_xarf_about_other_things_is_no_complaint(data: dict[str, Any]) -> None:
    assert read(xarf(data)).kind is Kind.UNKNOWN


@pytest.mark.parametrize(
    "more",
    [
        {"evidence": None},
        {"evidence": {"a": 1}},
        {"evidence": [1, None, [], {}]},
        {"evidence": [{"content_type": "message/rfc822", "payload": 7}]},
        {"evidence": [{"content_type": 7, "payload": "x"}]},
        {"smtp_to": 7},
        {"evidence": [{"content_type": "message/rfc822", "payload": "QTo="}] * 1000},
    ],
)
def test_xarf_with_odd_evidence_is_a_complaint_still(more: dict[str, Any]) -> None:
    assert read(xarf({**SPAM, **more})).kind is Kind.COMPLAINT


def test_json_beside_a_complaint_in_arf_changes_nothing() -> None:
    assert read(xarf({**SPAM, "type": "port_scan"}, "abuse")).format == "arf"


@pytest.mark.parametrize("octets", [b"", b"\n", b"no header\n", b"\x7fELF\0\0"])
def test_what_is_no_mail_is_refused(octets: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read(octets)


def test_of_a_large_mail_the_beginning_is_read() -> None:
    octets = corpus("feedback/yahoo-like.eml").replace(b"--=_b1--", b"x" * 2_000_000)
    report = read(octets)
    assert row_of(report)[:5] == ROWS["yahoo-like"][:5]
    assert report.notes == (f"of {len(octets)} octets, 1048576 were read",)


def test_a_large_mail_whose_beginning_tells_nothing_is_refused() -> None:
    octets = b"From: a@b.example\n\n" + b"x" * 2_000_000
    with pytest.raises(MalformedMessage, match="say nothing"):
        read(octets)
