"""Bounces from anybody: an answer within the limits, or `MalformedMessage`, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import MalformedMessage
from gatepost.feedback.bounce_rules import load_rules
from gatepost.feedback.bounce_text import original_in_text, read_bounce_text
from gatepost.feedback.classify import classify
from gatepost.feedback.dsn import read_dsn
from gatepost.feedback.mime import Part, parse_mime
from gatepost.feedback.report import ReportedRecipient, Severity

pytestmark = pytest.mark.fuzz

CORPUS = sorted((Path(__file__).parent.parent / "corpus" / "bounces").glob("*.eml"))
RULES = load_rules()
PHRASES = sorted({text.replace("...", "x") for rule in RULES.rules for text in rule.texts})
HARD = {rule.answer.rule for rule in RULES.rules if rule.answer.severity is Severity.HARD}
ACTIONS = {"failed", "delayed", "delivered", "relayed", "expanded", ""}

CODES = st.sampled_from(
    ["", "5.1.1", "4.1.1", "5.0.0", "2.0.0", "5.7.515", "9.9.9", "5.1", "\0", "."]
)
SMTP_CODES = st.sampled_from(["", "550", "450", "552", "55", "999", "\0"])
REPLIES = st.lists(
    st.one_of(
        st.sampled_from(PHRASES),
        st.sampled_from(
            [
                *("550 ", "550-5.1.1 ", " said: ", "<bob@example.org>", "@", "_", "(#5.1.1)", "\n"),
                *("#", "[", "5.1.1.1", " ", "\0", "\udcff", "ẞ", "İ", "用户不存在"),
            ]
        ),
        st.text(max_size=5),
    ),
    max_size=40,
).map("".join)
WORDS = st.lists(st.sampled_from(PHRASES) | st.text(max_size=5), max_size=6).map(" ".join)


@given(CODES, REPLIES, SMTP_CODES)
def test_any_reply_has_a_class(status: str, text: str, code: str) -> None:
    answer = classify(status, text, code)
    assert answer.bounce_class in RULES.classes
    assert (answer.severity is Severity.HARD) == (answer.rule in HARD)


@given(CODES, st.text(max_size=10), SMTP_CODES)
def test_what_has_no_known_word_has_the_class_of_its_code(
    status: str, text: str, code: str
) -> None:
    text = "".join(char for char in text if not char.isalnum())
    assert classify(status, text, code) == classify(status, "", code)


@given(CODES, WORDS, WORDS, st.sampled_from(["blocked using", "spamhaus", "dnsbl", "blacklisted"]))
def test_a_block_is_never_hard_whatever_stands_around_it(
    status: str, before: str, after: str, block: str
) -> None:
    # Else the limit of length, or an address, could take the word away.
    before, after = before[:400].replace("@", " "), after[:400].replace("@", " ")
    assert classify(status, f"550 {before} {block} {after}").severity is not Severity.HARD


def check(recipients: tuple[ReportedRecipient, ...]) -> None:
    assert 0 < len(recipients) <= 1000
    for each in recipients:
        assert each.action in ACTIONS
        assert (each.classified is not None) == (each.action == "failed")
        assert len(each.diagnostic) <= 500
        assert "\n" not in each.diagnostic + each.address + each.original_address
        for address in (each.address, each.original_address):
            assert len(address) <= 320
            assert address == "" or "@" in address
        each.diagnostic.encode()


def read(octets: bytes) -> Part | None:
    try:
        mail = parse_mime(octets)
        dsn = read_dsn(mail)
    except MalformedMessage:
        return None
    if dsn is not None:
        check(dsn.recipients)
        assert set(dsn.failed) <= set(dsn.recipients)
        assert len(dsn.envelope_id) <= 100
    text = read_bounce_text(mail)
    if text is not None:
        check(text)
    original_in_text(mail)
    return mail


@given(
    st.sampled_from(CORPUS),
    st.lists(
        st.tuples(st.integers(0, 4000), st.integers(0, 60), st.binary(max_size=8)), max_size=6
    ),
)
def test_mails_of_the_corpus_with_some_octets_changed(
    path: Path, changes: list[tuple[int, int, bytes]]
) -> None:
    octets = path.read_bytes()
    for place, length, instead in changes:
        at = place % (len(octets) + 1)
        octets = octets[:at] + instead + octets[at + length :]
    read(octets)


LINES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *("Reporting-MTA: dns; mx.example.org", "Final-Recipient: rfc822; bob@example.org"),
                *("Original-Recipient: utf-8; \\x{17E}o@b.example", "Action: failed", "Action: x"),
                *("Status: 5.1.1", "Status: ", "Diagnostic-Code: smtp; 550 user unknown", "", ""),
                *("Final-Recipient:", "X-Actual-Recipient: a@b.example", "Will-Retry-Until: x"),
                *("--=_b", "Content-Type: message/delivery-status", "--=_b--", " folded", ":"),
                *("Content-Transfer-Encoding: base64", "The following address(es) failed:"),
                *("This is the mail system at host x", "<bob@example.org>: user unknown"),
                *("  bob@example.org on Monday", "----- Transcript of session follows -----"),
                *(
                    ">>> RCPT To:<bob@example.org>",
                    "<<< 550 no",
                    "    (expanded from: a@b.example)",
                ),
                *("--- Below this line is a copy of the message.", "Return-Path: <a@b.example>"),
            ]
        ),
        st.text(max_size=12),
    ),
    max_size=40,
).map("\n".join)
KINDS = st.sampled_from(
    [
        "multipart/report; report-type=delivery-status; boundary==_b",
        'multipart/mixed; boundary="=_b"',
        "message/delivery-status",
        "text/plain; charset=utf-8",
        "text/html",
    ]
)


@given(KINDS, LINES)
def test_mails_of_the_words_of_notices(kind: str, lines: str) -> None:
    head = f"From: MAILER-DAEMON@mx.example.org\nSubject: Undelivered\nContent-Type: {kind}\n\n"
    read((head + lines).encode("utf-8", "surrogatepass"))


LOCAL = st.from_regex(r"[a-z][a-z0-9.+-]{0,20}[a-z]", fullmatch=True)
ROWS = st.lists(
    st.tuples(
        LOCAL,
        st.sampled_from(["failed", "delayed", "delivered", "relayed", "expanded"]),
        st.tuples(st.sampled_from("245"), st.integers(0, 9), st.integers(0, 999)),
    ),
    min_size=1,
    max_size=20,
)


@given(ROWS, st.sampled_from(["\n", "\r\n"]))
def test_a_notice_is_read_as_it_was_written(
    rows: list[tuple[str, str, tuple[str, int, int]]], end: str
) -> None:
    blocks = ["Reporting-MTA: dns; mx.example.org"]
    for local, action, status in rows:
        code = ".".join(map(str, status))
        blocks.append(
            f"Final-Recipient: rfc822; {local}@example.org\nAction: {action}\nStatus: {code}"
        )
    mail = (
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
        "--b\n\nSome text.\n--b\nContent-Type: message/delivery-status\n\n"
        + "\n\n".join(blocks)
        + "\n\n--b--\n"
    )
    dsn = read_dsn(parse_mime(mail.replace("\n", end).encode()))
    assert dsn is not None
    assert dsn.notes == ()
    assert [(each.address, each.action, each.status) for each in dsn.recipients] == [
        (f"{local}@example.org", action, ".".join(map(str, status)))
        for local, action, status in rows
    ]


@given(st.lists(LOCAL, min_size=1, max_size=20, unique=True))
def test_qmail_lists_whom_it_lists(locals_: list[str]) -> None:
    paragraphs = "".join(
        f"<{local}@example.org>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n"
        for local in locals_
    )
    mail = (
        "From: MAILER-DAEMON@mx.example.org\n\n"
        "Hi. This is the qmail-send program at mx.example.org.\n\n"
        + paragraphs
        + "--- Below this line is a copy of the message.\n\nTo: eve@example.org\n"
    )
    found = read_bounce_text(parse_mime(mail.encode()))
    assert found is not None
    assert [each.address for each in found] == [f"{local}@example.org" for local in locals_]
    assert {each.status for each in found} == {"5.1.1"}
