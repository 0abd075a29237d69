"""Bounces of every origin: the mails in tests/corpus/bounces, by the table beside them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from gatepost.feedback.bounce_text import original_in_text, read_bounce_text
from gatepost.feedback.dsn import read_dsn
from gatepost.feedback.mime import Part, parse_mime, values
from gatepost.feedback.report import ReportedRecipient

CORPUS = Path(__file__).parent.parent / "corpus" / "bounces"

Row = tuple[str, ...]


def expected() -> dict[str, list[Row]]:
    table = defaultdict(list)
    for line in (CORPUS / "EXPECTED").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, *row = (cell.strip() for cell in line.split("|"))
            table[name].append(tuple(row))
    return table


def mail(name: str) -> Part:
    return parse_mime((CORPUS / name).read_bytes())


def row(how: str, recipient: ReportedRecipient) -> Row:
    classified = recipient.classified
    meaning = (classified.bounce_class, classified.severity.value) if classified else ("", "")
    told = (recipient.address, recipient.action, recipient.status)
    return tuple(cell or "-" for cell in (how, *told, *meaning, recipient.original_address))


def test_all_of_the_corpus_is_in_the_table() -> None:
    assert set(expected()) == {path.name for path in CORPUS.glob("*.eml")}


@pytest.mark.parametrize(("name", "rows"), expected().items(), ids=list(expected()))
def test_a_bounce(name: str, rows: list[Row]) -> None:
    parsed = mail(name)
    dsn = read_dsn(parsed)
    text = read_bounce_text(parsed)
    if dsn is not None:
        assert [row("dsn", each) for each in dsn.recipients] == rows
    elif text is not None:
        assert [row("text", each) for each in text] == rows
    else:
        assert rows == [("none",)]


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.eml")), ids=lambda path: path.name)
def test_each_says_where_it_is_from(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("X-Corpus: synthetic; in the form of ")


@pytest.mark.parametrize(
    "name",
    [
        *("qmail.eml", "exim-text.eml", "gmx-text.eml", "domino-old.eml", "google-old.eml"),
        *("yahoo-text.eml", "yahoo-old.eml", "sendmail-old.eml", "transcript-only.eml"),
        *("opensmtpd.eml", "dragonfly.eml"),
    ],
)
def test_the_copy_of_the_message_is_found(name: str) -> None:
    original = original_in_text(mail(name))
    assert original is not None
    assert values(original, "message-id") == ["<20270111080000.4711@shop.example>"]
    assert values(original, "return-path") == ["<@BOUNCE@@bounces.example.net>"]


@pytest.mark.parametrize("name", ["postfix-text.eml", "exchange-5.5.eml", "vacation.eml"])
def test_there_is_no_copy(name: str) -> None:
    assert original_in_text(mail(name)) is None


QMAIL = "Hi. This is the qmail-send program at mail.example.org.\n\n"


def test_a_copy_without_a_header_is_none() -> None:
    text = f"{QMAIL}--- Below this line is a copy of the message.\n\nDear reader\n"
    assert original_in_text(parse_mime(f"From: a@b.example\n\n{text}".encode())) is None


def notice(text: str, **headers: str) -> tuple[ReportedRecipient, ...] | None:
    fields = {"From": "MAILER-DAEMON@mail.example.org", "Subject": "failure", **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\n" for name, value in fields.items())
    return read_bounce_text(parse_mime(f"{head}\n{text}".encode()))


def test_a_sentence_may_go_over_lines() -> None:
    text = "Your mail\ncould not be\ndelivered to the\nfollowing:\n\nbob@example.org\nunknown"
    found = notice(text, From="x@mail.example.org")
    assert found is not None
    assert [each.address for each in found] == ["bob@example.org"]


def test_a_recipient_that_is_told_of_twice_is_one() -> None:
    found = notice(f"{QMAIL}<bob@example.org>:\nno\n\n<BOB@example.org>:\nuser unknown\n")
    assert found is not None
    assert [(each.address, each.diagnostic) for each in found] == [
        ("bob@example.org", "no user unknown")
    ]


def test_a_recipient_in_the_line_of_the_sentence() -> None:
    found = notice("Failed address: bob@example.org\nuser unknown\n", From="x@mail.example.org")
    assert found is not None
    assert [(each.address, each.diagnostic) for each in found] == [
        ("bob@example.org", "user unknown")
    ]


def test_a_transcript_tells_the_reason_of_each() -> None:
    found = notice(
        "The following addresses had permanent errors\n<a@b.example>\n<c@d.example>\n"
        "----- Transcript of session follows -----\n"
        ">>> RCPT To:<a@b.example>\n<<< 550 user unknown\n"
        ">>> RCPT To:<c@d.example>\n<<< 552 mailbox full\n>>> QUIT\n<<< 221 blocked using x\n"
    )
    assert found is not None
    assert [each.classified.rule for each in found if each.classified] == [
        "user-unknown",
        "mailbox-full",
    ]


def test_what_is_quoted_is_not_read() -> None:
    assert notice(f"> {QMAIL}> <bob@example.org>:\n> user unknown\n", From="a@b.example") is None


@pytest.mark.parametrize("subject", ["Re: failure notice", "Fwd: failure notice", "AW: failure"])
def test_what_is_passed_on_is_no_notice(subject: str) -> None:
    text = f"{QMAIL}<bob@example.org>:\nuser unknown\n"
    assert notice(text, From="ann@example.org", Subject=subject) is None
    assert notice(text, Subject=subject) is not None


@pytest.mark.parametrize(
    ("subject", "sender", "path", "is_notice"),
    [
        ("Undeliverable mail", "postmaster@mail.example.org", "<>", True),
        ("Undeliverable mail", "MicrosoftExchange329e71ec@mail.example.org", "<a@b.example>", True),
        ("Undeliverable mail", "ann@example.org", "<>", True),
        ("Undeliverable mail", "ann@example.org", "<ann@example.org>", False),
        ("Hello", "postmaster@mail.example.org", "<>", True),
        ("Hello", "MAILER-DAEMON <>", "<a@b.example>", True),
        ("Hello", "ann@example.org", "<>", False),
    ],
)
def test_words_of_its_own_count_from_a_mail_system_only(
    subject: str,
    sender: str,
    path: str,
    is_notice: bool,  # noqa: FBT001
) -> None:
    found = notice("It was not delivered.", Return_Path=path, From=sender, Subject=subject)
    assert (found is not None) == is_notice


def test_a_notice_that_only_its_header_tells_the_recipient_of() -> None:
    found = notice(
        "It was not delivered: user unknown", X_Failed_Recipients="a@b.example, c@d.example"
    )
    assert found is not None
    assert [each.address for each in found] == ["a@b.example", "c@d.example"]
    assert {each.classified.rule for each in found if each.classified} == {"user-unknown"}


def test_who_names_failed_recipients_in_the_header_is_a_mail_system() -> None:
    headers = {"From": "a@b.example", "X_Failed_Recipients": "bob@example.org"}
    assert notice("It was not delivered.", Subject="hello", **headers) is not None


def test_a_delay_in_other_words() -> None:
    found = notice("It was not delivered, and we are still trying.\n\nbob@example.org\n")
    assert found is not None
    assert [(each.action, each.classified) for each in found] == [("delayed", None)]


def test_the_address_of_this_host_is_no_recipient() -> None:
    text = "It was not delivered:\n\nnews@shop.example\n\nbob@example.org\n"
    found = notice(text, To="news@shop.example")
    assert found is not None
    assert [each.address for each in found] == ["bob@example.org"]


def test_the_limits() -> None:
    lines = "".join(f"<user{number}@example.org>:\n" for number in range(3000))
    found = notice(QMAIL + lines)
    assert found is not None
    assert 900 < len(found) <= 1000
    assert notice("\n" * 1200 + QMAIL + "<bob@example.org>:\n", Subject="hello") is None
    assert notice("x" * 40_000 + "\n" + QMAIL + "<bob@example.org>:\n", Subject="hello") is None
