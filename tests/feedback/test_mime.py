"""Mail is taken apart as its sender meant it, and never beyond the limits."""

from __future__ import annotations

import pytest

from gatepost.errors import MalformedMessage
from gatepost.feedback.mime import (
    MAX_DEPTH,
    MAX_HEADER_OCTETS,
    MAX_OCTETS,
    MAX_PARTS,
    Part,
    original_of,
    parse_mime,
    text_of,
    values,
    walk,
)


def multipart(
    *parts: str, boundary: str = "b", last: str = "--b--\n", kind: str = "mixed"
) -> bytes:
    body = "".join(f"--{boundary}\n{part}\n" for part in parts)
    return f"Content-Type: multipart/{kind}; boundary={boundary}\n\n{body}{last}".encode()


def bodies(mail: Part) -> list[bytes]:
    return [part.body for part in mail.parts]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_headers_are_unfolded_and_named_in_lower_case(end: str) -> None:
    mail = parse_mime(f"From: a@b.example{end}SUBJECT: one{end}\t two{end}{end}body{end}".encode())
    assert mail.headers == (("from", "a@b.example"), ("subject", "one two"))
    assert mail.type == "text/plain"
    assert mail.body == f"body{end}".encode()


@pytest.mark.parametrize(
    "octets",
    [
        b"\n\r\nFrom: a@b.example\n\nbody",
        b"From a@b.example Mon Jan 11 08:00:00 2027\nFrom: a@b.example\n\nbody",
    ],
)
def test_what_stands_before_the_header_is_passed_over(octets: bytes) -> None:
    mail = parse_mime(octets)
    assert (mail.headers, mail.body) == ((("from", "a@b.example"),), b"body")


def test_a_mail_without_header_is_all_body() -> None:
    mail = parse_mime(b"no header here\n\nbut text")
    assert (mail.headers, mail.body) == ((), b"no header here\n\nbut text")


def test_a_mail_that_ends_in_its_header_has_no_body() -> None:
    mail = parse_mime(b"From: a@b.example\nSubject: cut of")
    assert mail.headers[-1] == ("subject", "cut of")
    assert mail.body == b""


def test_a_line_in_the_header_that_is_no_field_continues_the_one_before() -> None:
    mail = parse_mime(b"Subject: one\nand two\nFrom: a@b.example\n\nbody")
    assert mail.headers == (("subject", "one and two"), ("from", "a@b.example"))


def test_parts_end_before_the_line_end_of_their_boundary() -> None:
    mail = parse_mime(
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n\r\none\r\n\r\n"
        b"--b  \r\nContent-Type: text/html\r\n\r\ntwo\r\n--b--\r\nepilogue\r\n--b\r\n\r\nthree"
    )
    assert mail.body == b"preamble"
    assert [(part.type, part.body) for part in mail.parts] == [
        ("text/plain", b"one\r\n"),
        ("text/html", b"two"),
    ]


def test_a_missing_last_boundary_ends_with_the_mail() -> None:
    assert bodies(parse_mime(multipart("\none", "\ntwo", last=""))) == [b"one", b"two\n"]


def test_a_boundary_within_a_line_is_none() -> None:
    assert bodies(parse_mime(multipart("\none --b\ntwo x--b--"))) == [b"one --b\ntwo x--b--"]


def test_a_boundary_that_another_begins_with_is_told_apart() -> None:
    inner = multipart("\ndeep", boundary="bb", last="--bb--\n").decode()
    mail = parse_mime(multipart(inner, "\nflat"))
    assert [part.type for part in mail.parts] == ["multipart/mixed", "text/plain"]
    assert bodies(mail.parts[0]) == [b"deep"]


@pytest.mark.parametrize(
    "media_type",
    [
        'multipart/mixed; boundary="b"',
        "MULTIPART/MIXED;BOUNDARY=b",
        'multipart/mixed; charset="a;b"; boundary = "b" ; x=y',
        'multipart/mixed; boundary="\\b"',
        'multipart/mixed; boundary="b',
        "multipart/mixed; boundary=b; boundary=c",
        "multipart/mixed;; boundary=b;",
        "multipart/mixed;\n\tboundary=b",
    ],
)
def test_a_boundary_is_found_however_it_is_written(media_type: str) -> None:
    mail = parse_mime(f"Content-Type: {media_type}\n\n--b\n\none\n--b--\n".encode())
    assert bodies(mail) == [b"one"]


@pytest.mark.parametrize(
    "media_type", ["multipart/mixed", "multipart/mixed; boundary=", "multipart/x; boundary=c"]
)
def test_a_multipart_without_its_boundary_is_a_body(media_type: str) -> None:
    mail = parse_mime(f"Content-Type: {media_type}\n\n--b\n\none\n--b--\n".encode())
    assert mail.parts == ()
    assert "one" in text_of(mail)


@pytest.mark.parametrize(
    "media_type", ["", "text", "/plain", "text/", "te xt/plain", ";", "=?utf-8?q?text/html?="]
)
def test_an_unreadable_media_type_is_plain_text(media_type: str) -> None:
    assert parse_mime(f"Content-Type: {media_type}\n\nx".encode()).type == "text/plain"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("base64", b"SGVsbG8g\r\nd29ybGQ=\r\n"),
        ("BASE64", b"SGVs bG8gd29ybGQ"),
        ("base64", b"SGVsbG8g!d29ybGQ=trailing"[:17]),
        ("quoted-printable", b"Hello=20wor=\nld"),
        ("7bit", b"Hello world"),
        ("8bit", b"Hello world"),
        ("x-unknown", b"Hello world"),
        ("", b"Hello world"),
    ],
)
def test_transfer_encodings_are_undone(encoding: str, body: bytes) -> None:
    octets = f"Content-Transfer-Encoding: {encoding}\n\n".encode() + body
    assert parse_mime(octets).body == b"Hello world"


def test_a_message_within_is_the_only_part() -> None:
    mail = parse_mime(multipart("Content-Type: message/rfc822\n\nSubject: inner\n\nHello"))
    (part,) = mail.parts
    assert part.body == b"Subject: inner\n\nHello"
    assert part.parts[0].headers == (("subject", "inner"),)
    assert original_of(mail) == part.parts[0]


@pytest.mark.parametrize(
    "media_type",
    ["text/rfc822-headers", "message/rfc822-headers", "message/global", "message/global-headers"],
)
def test_a_header_within_is_read_like_a_message(media_type: str) -> None:
    mail = parse_mime(multipart(f"Content-Type: {media_type}\n\n\nSubject: inner"))
    original = original_of(mail)
    assert original is not None
    assert values(original, "subject") == ["inner"]


def test_the_parts_of_a_digest_are_messages() -> None:
    mail = parse_mime(multipart("\nSubject: inner\n\nHello", kind="digest"))
    assert mail.parts[0].type == "message/rfc822"
    assert mail.parts[0].parts[0].headers == (("subject", "inner"),)


def test_walk_does_not_enter_messages() -> None:
    inner = multipart("\ndeep").decode()
    mail = parse_mime(
        multipart(f"Content-Type: message/rfc822\n\n{inner}", "\nflat", boundary="o", last="")
    )
    assert [part.type for part in walk(mail)] == ["multipart/mixed", "message/rfc822", "text/plain"]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("plain", "plain"),
        ("=?utf-8?q?J=C3=BCrgen?=", "Jürgen"),
        ("=?UTF-8?B?SsO8cmdlbg==?= M.", "Jürgen M."),
        ("=?utf-8*de?q?=C3=BC?=", "ü"),
        ("=?iso-8859-1?q?f=FCr_dich?=", "für dich"),
        ("=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "日本"),
        # Blanks between words go, and a character cut in two is put together.
        ("=?utf-8?q?=C3?=\n =?utf-8?q?=BC?=", "ü"),
        ("=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
        ("=?utf-8?q?a?=  =?iso-8859-1?q?=FC?=", "aü"),
        # What is no word, or of a character set that we do not try, loses nothing.
        ("=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
        ("=?punycode?q?abc?=", "abc"),
        ("=?utf-8?b?!?=", ""),
        ("=?utf-8?q?=FF?=", "\ufffd"),
    ],
)
def test_encoded_words_are_decoded(raw: str, text: str) -> None:
    assert values(parse_mime(f"Subject: {raw}\n\n".encode()), "Subject") == [text]


def test_values_hold_nothing_that_acts_on_a_terminal() -> None:
    mail = parse_mime(b"Subject: a\x1b[2Jb\x00c =?utf-8?q?=0Ad=E2=80=AEe?=\n\n")
    assert values(mail, "subject") == ["a [2Jb c  d e"]


def test_values_are_all_fields_of_that_name() -> None:
    mail = parse_mime(b"To: a\nCc: b\nTO: c\n\n")
    assert values(mail, "to") == ["a", "c"]


@pytest.mark.parametrize(
    ("charset", "octets", "text"),
    [
        ("utf-8", "ü".encode(), "ü"),
        ("us-ascii", "ü".encode(), "ü"),
        ("ISO-8859-1", b"\xfc", "ü"),
        ("windows-1252", b"\x80", "€"),
        ("nothing-known", "ü".encode(), "ü"),
        ("idna", b"xn--a", "xn--a"),
        ("zlib", b"x", "x"),
    ],
)
def test_text_is_decoded_by_its_character_set(charset: str, octets: bytes, text: str) -> None:
    mail = parse_mime(f"Content-Type: text/plain; charset={charset}\n\n".encode() + octets)
    assert text_of(mail) == text


def test_text_of_html_has_no_tags() -> None:
    mail = parse_mime(
        b"Content-Type: text/html\n\n<p>550 &lt;a@b.example&gt;</p><div>unknown &amp; gone<br>"
        b"<b>bo</b>ld &#252;&#xFC;&#99999999999999999999; < a"
    )
    assert text_of(mail).split("\n") == [
        *("", "550 <a@b.example>", "", "unknown & gone", "bold üü&#99999999999999999999; < a")
    ]


def test_text_of_a_multipart_is_that_of_its_texts() -> None:
    alternative = multipart(
        "\nplain",
        "Content-Type: text/html\n\n<p>html",
        boundary="i",
        last="--i--",
        kind="alternative",
    ).decode()
    mail = parse_mime(
        multipart(
            alternative,
            "\nmore",
            "Content-Type: image/png\n\npng",
            "Content-Type: text/rfc822-headers\n\nSubject: no",
        )
    )
    assert text_of(mail) == "plain\nmore"


def nested(levels: int) -> bytes:
    return (
        "".join(
            f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(levels - 1)
        ).encode()
        + b"\nx"
    )


def test_as_many_levels_as_the_limit_are_read() -> None:
    part, depth = parse_mime(nested(MAX_DEPTH)), 1
    while part.parts:
        part, depth = part.parts[0], depth + 1
    assert depth == MAX_DEPTH


@pytest.mark.parametrize(
    ("octets", "rule"),
    [
        (b"x" * (MAX_OCTETS + 1), "limit on size"),
        (b"Subject: " + b"x" * MAX_HEADER_OCTETS + b"\n\n", "limit on header"),
        (multipart("Subject: " + "x" * MAX_HEADER_OCTETS), "limit on header"),
        (b"a:\n" * 1001 + b"\n", "limit on fields"),
        (nested(MAX_DEPTH + 1), "limit on depth"),
        (b"Content-Type: message/rfc822\n\n" * MAX_DEPTH + b"\n", "limit on depth"),
        (multipart(*["\nx"] * MAX_PARTS), "limit on parts"),
    ],
)
def test_more_than_a_limit_is_refused(octets: bytes, rule: str) -> None:
    with pytest.raises(MalformedMessage) as refused:
        parse_mime(octets)
    assert refused.value.rule == rule


def test_as_much_as_a_limit_is_read() -> None:
    assert len(parse_mime(b"x" * MAX_OCTETS).body) == MAX_OCTETS
    assert len(parse_mime(multipart(*["\nx"] * (MAX_PARTS - 1))).parts) == MAX_PARTS - 1
    long = parse_mime(b"Subject: " + b"x" * (MAX_HEADER_OCTETS - 100) + b"\nTo: a\n\n")
    assert len(values(long, "subject")[0]) == 8192
    assert values(long, "to") == ["a"]
