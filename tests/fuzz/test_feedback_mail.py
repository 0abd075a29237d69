"""Whatever comes back is read or refused, and what is read can be shown, stored and sent on.

The mails are mixed from the words of the formats, or are files of the corpus with a part replaced,
repeated, or taken out.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.cli.feedback.parse import Known, parse
from gatepost.errors import MalformedMessage
from gatepost.feedback import arf, auto_reply, jmrp, unsubscribe_mail, xarf
from gatepost.feedback.addresses import MAX_ADDRESS_CHARACTERS, bare_address, recipient_of
from gatepost.feedback.encoded import decode_words, strip_tags, to_text, undo_base64, undo_transfer
from gatepost.feedback.fields import MAX_FIELD_CHARACTERS, field_blocks
from gatepost.feedback.mime import Part, clean, original_of, parse_mime, text_of, values, walk
from gatepost.feedback.reading import original_in
from gatepost.feedback.token import Keyring, Purpose
from gatepost.feedback.tokens_in import Place, find_tokens
from tests.mails import corpus, corpus_files, token
from tests.world import KEYS, NOW

pytestmark = pytest.mark.fuzz

MIME = (
    *(b"Content-Type: multipart/report; report-type=feedback-report; boundary=b\n", b"\n", b"\n\n"),
    *(b"Content-Type: message/rfc822\n\n", b"Content-Type: text/rfc822-headers\n\n", b"\r\n"),
    *(b"Content-Type: multipart/mixed; boundary=\"b c\"; x*0*=utf-8''%C3\n\n", b"\n--b c\n"),
    *(b"\n--b\n", b"--b--\n", b"\n--b  \n", b"Content-Transfer-Encoding: base64\n", b"AAA", b"="),
    *(b"Content-Transfer-Encoding: quoted-printable\n", b"=0A", b"=\n", b"\0", b"\xff", b" \n"),
    *(b"Content-Type: multipart/digest; boundary=b\n\n", b"From x Mon\n", b">From x\n", b"\t"),
    *(b"Content-Type: text/html; charset=utf-16\n\n", b"<p>", b"&#0;", b"&#xD800;", b"&lt;", b"<"),
)
REPORT = (
    *(b"Content-Type: message/feedback-report\n\n", b"Feedback-Type: abuse\n", b"Version: 1\n"),
    *(b"Feedback-Type: not-spam\n", b"Feedback-Type: opt-out\n", b"Feedback-Type: xarf\n"),
    *(b"Original-Rcpt-To: <a@b.example>\n", b"Original-Rcpt-To: redacted\n", b"Incidents: 7\n"),
    *(
        b"Original-Rcpt-To: rfc822;",
        b'"a\\',
        b'"@b',
        b"Incidents: 99999999999\n",
        b"Incidents: x\n",
    ),
    *(b"Original-Mail-From: ", b"Original-Envelope-Id: ", b"User-Agent: JMRP/1.0\n", b"From: "),
    *(b"From: A <staff@hotmail.com>\n", b"Subject: complaint about message from 192.0.2.1\n"),
    *(b"X-HmXmrOriginalRecipient: a@b.example\n", b"Subject: Out of office\n", b"To: "),
    *(b"Subject: unsubscribe\n", b"X-Apple-Unsubscribe: true\n", b"Auto-Submitted: auto-replied\n"),
    *(b"CFBL-Address: a@b.example\n", b"CFBL-Feedback-ID: ", b"List-Unsubscribe: <mailto:"),
    *(b"Message-ID: <", b"Return-Path: <>\n", b"Return-Path: <", b"@b.example>\n", b"X-Token: "),
    *(token(purpose).encode() for purpose in Purpose),
    *(token(Purpose.COMPLAINT, age_days=90).encode(), b"a" * 48),
)
JSON = (
    *(b"Content-Type: application/json; name=xarf.json\n\n", b'{"xarf_version":"4.0.0",', b"}"),
    *(b'"category":"messaging",', b'"type":"spam",', b'"evidence":[', b"]", b'"Report":{', b","),
    *(b'{"content_type":"message/rfc822","payload":"RnJvbTogYQ=="}', b'"smtp_to":"a@b.example"'),
    *(b'"\\ud800"', b"[", b"{", b"null", b"1e999", b"NaN", b'"smtp_from":', b":", b'"'),
)


CORPUS = [name for folder in ("feedback", "bounces") for name in corpus_files(folder)]


def mixed(*words: bytes) -> st.SearchStrategy[bytes]:
    return st.lists(st.one_of(st.sampled_from(words), st.binary(max_size=6))).map(b"".join)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A mail of the corpus in which something is not as it was."""
    octets = corpus(draw(st.sampled_from(CORPUS)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(octets)))
        end = draw(st.integers(start, min(len(octets), start + 200)))
        word = draw(st.one_of(st.sampled_from((*MIME, *REPORT, *JSON)), st.binary(max_size=6)))
        times = draw(st.sampled_from([0, 1, 1, 2, 50]))
        octets = octets[:start] + word * times + octets[end:]
    return octets


ANY_MAIL = st.one_of(mixed(*MIME, *REPORT), mixed(*MIME, *REPORT, *JSON), spoiled())


@given(ANY_MAIL)
def test_a_report_can_be_shown_and_sent(octets: bytes) -> None:
    try:
        parsed = parse("x", octets, Known(KEYS), NOW)
    except MalformedMessage:
        return
    json.dumps(parsed.document, allow_nan=False).encode()
    report = parsed.report
    texts = [each.address for each in report.recipients]
    texts += [report.original.message_id, report.original.sender, report.original.feedback_id]
    texts += [report.reporter, report.feedback_type, *report.notes]
    for text in texts:
        assert text == clean(text)
        assert len(text) <= 998
    assert len(report.notes) <= 30
    assert report.incidents >= 1


@given(ANY_MAIL)
def test_nothing_verifies_without_the_keys(octets: bytes) -> None:
    try:
        parsed = parse("x", octets, Known(Keyring({1: bytes(32), 2: bytes(32)}, 1)), NOW)
    except MalformedMessage:
        return
    assert parsed.report.token is None


@given(ANY_MAIL)
def test_each_parser_by_itself(octets: bytes) -> None:
    try:
        mail = parse_mime(octets)
        for read in (arf.read_arf, jmrp.read_jmrp, xarf.read_xarf):
            read(mail)
    except MalformedMessage:
        return
    auto_reply.read_reply(mail)
    auto_reply.read_automatic(mail)
    for null_sender in (False, True):
        unsubscribe_mail.read_unsubscribe(mail, null_sender=null_sender, to_token=True)


@given(ANY_MAIL)
def test_mime(octets: bytes) -> None:
    try:
        mail = parse_mime(octets)
    except MalformedMessage:
        return
    parts = list(walk(mail))
    assert len(parts) <= 100
    for part in parts:
        assert len(part.body) <= len(octets)
        assert len(text_of(part)) <= 2 * len(octets)
        for name, value in part.headers:
            assert name == name.lower()
            assert len(value) <= MAX_FIELD_CHARACTERS
            assert "\n" not in value
            values(part, name)
    original_of(mail)
    original_in(mail)


@given(st.lists(st.binary(max_size=30), max_size=5), st.sampled_from([b"\n", b"\r\n"]))
def test_parts_come_out_as_they_went_in(bodies: list[bytes], end: bytes) -> None:
    boundary = b"=_0123456789"
    octets = b"Content-Type: multipart/mixed; boundary=%s%s%s" % (boundary, end, end)
    for body in bodies:
        octets += b"--%s%s%s%s%s" % (boundary, end, end, body, end)
    mail: Part = parse_mime(octets + b"--%s--%s" % (boundary, end))
    if any(boundary in body for body in bodies):
        return
    expected = bodies
    if end == b"\n":
        # A CR at the end of a body then belongs to the line end before the boundary.
        expected = [body.removesuffix(b"\r") for body in bodies]
    assert [part.body for part in mail.parts] == expected


@given(st.text(max_size=200))
def test_small_texts(text: str) -> None:
    decode_words(text)
    assert len(decode_words(text)) <= len(text)
    strip_tags(text)
    address = bare_address(text)
    assert len(address) <= MAX_ADDRESS_CHARACTERS
    assert not address or bare_address(address) == address
    recipient_of(text, [])
    find_tokens([Place("x", text, (Purpose.BOUNCE,))], KEYS, NOW)
    for block in field_blocks(text):
        assert block


@given(st.binary(max_size=200), st.text(max_size=20))
def test_small_octets(octets: bytes, name: str) -> None:
    assert len(undo_base64(octets)) <= len(octets)
    assert len(undo_transfer(octets, name)) <= len(octets)
    to_text(octets, name)
