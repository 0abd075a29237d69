"""Our tokens are found wherever they may stand, and authorise only what they were made for."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from gatepost.feedback.cfbl import CFBL_ADDRESS, CFBL_FEEDBACK_ID, format_cfbl_address
from gatepost.feedback.list_unsubscribe import LIST_UNSUBSCRIBE, format_list_unsubscribe
from gatepost.feedback.read import EnvelopeFacts, read_mail
from gatepost.feedback.report import Report
from gatepost.feedback.token import MAX_AGE_DAYS, Keyring, Purpose
from tests.mails import MESSAGE, TENANT, token
from tests.world import KEYS, NOW

BOUNCE, COMPLAINT, UNSUBSCRIBE = Purpose.BOUNCE, Purpose.COMPLAINT, Purpose.UNSUBSCRIBE
OTHER = b"another!"
FIELDS = "Feedback-Type: abuse\nUser-Agent: Isp/1\nVersion: 1\n"


def complaint(original: str = "", fields: str = "", top: str = "") -> bytes:
    return (
        f"From: abuse@isp.example\n{top}Content-Type: multipart/report; "
        "report-type=feedback-report; boundary=b\n\n"
        f"--b\nContent-Type: message/feedback-report\n\n{FIELDS}{fields}\n"
        f"--b\nContent-Type: message/rfc822\n\nFrom: a@acme.example\n{original}\n\nHello\n--b--\n"
    ).encode()


def read(octets: bytes, recipient: str = "", keyring: Keyring = KEYS) -> Report:
    return read_mail(octets, EnvelopeFacts("", recipient), keyring, NOW)


def found(report: Report) -> tuple[Purpose, str] | None:
    return None if report.token is None else (report.token.purpose, report.token.where)


PLACES: list[tuple[Purpose, str, Callable[[str], Report]]] = [
    (COMPLAINT, "CFBL-Feedback-ID", lambda t: read(complaint(f"CFBL-Feedback-ID: {t}"))),
    (COMPLAINT, "X-Gatepost-Token", lambda t: read(complaint(f"X-Gatepost-Token: {t}"))),
    (COMPLAINT, "X-Anything", lambda t: read(complaint(f"X-Anything:  {t} "))),
    (COMPLAINT, "X-Gatepost-Token", lambda t: read(complaint(top=f"X-Gatepost-Token: {t}\n"))),
    (COMPLAINT, "Message-ID", lambda t: read(complaint(f"Message-ID: <{t}@acme.example>"))),
    (BOUNCE, "Return-Path", lambda t: read(complaint(f"Return-Path: <{t}@bounces.example.net>"))),
    (
        *(BOUNCE, "Authentication-Results"),
        lambda t: read(
            complaint(f"Authentication-Results: x; spf=pass\n smtp.mailfrom={t}@b.example.net; x")
        ),
    ),
    (
        *(BOUNCE, "Received-Spf"),
        lambda t: read(complaint(f"Received-SPF: pass (x) envelope-from=<{t}@b.example.net>")),
    ),
    (
        *(BOUNCE, "Original-Envelope-Id"),
        lambda t: read(complaint(fields=f"Original-Envelope-Id: {t}\n")),
    ),
    (
        *(BOUNCE, "Original-Mail-From"),
        lambda t: read(complaint(fields=f"Original-Mail-From: <{t}@bounces.example.net>\n")),
    ),
    (BOUNCE, "envelope recipient", lambda t: read(complaint(), f"{t}@bounces.example.net")),
    (BOUNCE, "Delivered-To", lambda t: read(complaint(top=f"Delivered-To: {t}@b.example.net\n"))),
    (BOUNCE, "X-Original-To", lambda t: read(complaint(top=f"X-Original-To: {t}@b.example.net\n"))),
    (BOUNCE, "To", lambda t: read(complaint(top=f"To: <{t}@b.example.net>\n"))),
    (UNSUBSCRIBE, "envelope recipient", lambda t: read(complaint(), f"{t}@fbl.example.net")),
    (
        *(UNSUBSCRIBE, "List-Unsubscribe"),
        lambda t: read(complaint(f"List-Unsubscribe: <https://u.example.net/u/{t}>")),
    ),
    (
        *(UNSUBSCRIBE, "List-Unsubscribe"),
        lambda t: read(complaint(f"List-Unsubscribe: <mailto:{t}@f.example.net?subject=x>,<x:y>")),
    ),
]


@pytest.mark.parametrize(("purpose", "where", "carry"), PLACES)
def test_a_token_is_found_where_its_purpose_belongs(
    purpose: Purpose, where: str, carry: Callable[[str], Report]
) -> None:
    report = carry(token(purpose))
    assert found(report) == (purpose, where)
    assert report.token is not None
    assert report.token.token.message == MESSAGE
    # Mail systems change the case of local parts.
    assert found(carry(token(purpose).upper())) == (purpose, where)


# These take two purposes.
ADDRESSES = {"envelope recipient", "Delivered-To", "X-Original-To", "To"}
MISPLACED = [
    (other, where, carry)
    for purpose, where, carry in PLACES
    for other in Purpose
    if other is not purpose and not (where in ADDRESSES and other in {BOUNCE, UNSUBSCRIBE})
]


@pytest.mark.parametrize(("other", "where", "carry"), MISPLACED)
def test_a_token_of_another_purpose_is_worth_nothing_there(
    other: Purpose, where: str, carry: Callable[[str], Report]
) -> None:
    report = carry(token(other))
    assert report.token is None
    assert report.notes == (f"a token in {where} was not signed by us for this purpose",)


@pytest.mark.parametrize(("purpose", "where", "carry"), PLACES)
def test_a_token_that_has_expired_is_noted_and_not_believed(
    purpose: Purpose, where: str, carry: Callable[[str], Report]
) -> None:
    assert carry(token(purpose, age_days=MAX_AGE_DAYS)).token is not None
    report = carry(token(purpose, age_days=MAX_AGE_DAYS + 1))
    assert report.token is None
    assert report.notes == (f"a token in {where} has expired",)


@pytest.mark.parametrize(("purpose", "where", "carry"), PLACES)
def test_a_token_that_was_changed_is_worth_nothing(
    purpose: Purpose, where: str, carry: Callable[[str], Report]
) -> None:
    good = token(purpose)
    raw = bytearray(base64.b32decode(good.upper()))
    raw[10] ^= 1
    report = carry(base64.b32encode(bytes(raw)).decode().lower())
    assert report.token is None
    assert report.notes == (f"a token in {where} was not signed by us for this purpose",)


def test_a_token_of_a_key_that_is_gone_is_worth_nothing() -> None:
    octets = complaint(f"CFBL-Feedback-ID: {token(COMPLAINT)}\nX-Other: {token(COMPLAINT)}")
    report = read(octets, keyring=Keyring({1: bytes(32)}, 1))
    assert report.token is None
    # A header of others may look like a token; the one that only we write is told.
    assert report.notes == ("a token in CFBL-Feedback-ID has a version or a key that is not ours",)


@pytest.mark.parametrize(
    "value",
    [
        "{0}\n\t{1}",
        "  {0} {1}  ",
        "{0}\n {1}\n",
        "abc:{0}\n {1}:def",
    ],
)
def test_white_space_in_cfbl_feedback_id_means_nothing(value: str) -> None:
    text = token(COMPLAINT)
    report = read(complaint("CFBL-Feedback-ID: " + value.format(text[:17], text[17:])))
    assert found(report) == (COMPLAINT, "CFBL-Feedback-ID")


def test_a_uri_that_was_folded_is_put_together() -> None:
    text = token(UNSUBSCRIBE)
    report = read(complaint(f"List-Unsubscribe: <https://u.example.net/u/{text[:9]}\n {text[9:]}>"))
    assert found(report) == (UNSUBSCRIBE, "List-Unsubscribe")


def test_what_we_put_into_headers_is_found_again() -> None:
    by_web = format_list_unsubscribe(token(UNSUBSCRIBE), "https://u.example.net/u", None)
    both = format_list_unsubscribe(token(UNSUBSCRIBE), "https://u.example.net/u", "f.example.net")
    for value in (by_web, both):
        report = read(complaint(f"{LIST_UNSUBSCRIBE}: {value}"))
        assert found(report) == (UNSUBSCRIBE, "List-Unsubscribe")
        assert report.notes == ("no complaint token; the unsubscribe token only identifies",)
    asked = f"{CFBL_ADDRESS}: {format_cfbl_address('f.example.net')}\n"
    report = read(complaint(f"{asked}{CFBL_FEEDBACK_ID}: {token(COMPLAINT)}"), "fbl@f.example.net")
    assert (report.format, found(report)) == ("cfbl", (COMPLAINT, CFBL_FEEDBACK_ID))


@pytest.mark.parametrize("around", ["a{}", "{}a", "{}{}", "7{}7"])
def test_a_token_within_a_longer_word_is_none(around: str) -> None:
    text = token(COMPLAINT)
    assert read(complaint("CFBL-Feedback-ID: " + around.format(text, text))).token is None


@pytest.mark.parametrize("body", ["text/plain\n\n{}", "text/plain\n\nhttps://u.example.net/u/{}"])
def test_a_token_in_a_body_is_not_looked_for(body: str) -> None:
    text = body.format(token(COMPLAINT))
    assert read(f"From: a@b.example\nContent-Type: {text}\n".encode()).token is None


def test_a_complaint_token_goes_before_others() -> None:
    report = read(
        complaint(
            f"Return-Path: <{token(BOUNCE)}@b.example.net>\nX-Gatepost-Token: {token(COMPLAINT)}"
        ),
        f"{token(BOUNCE)}@bounces.example.net",
    )
    assert found(report) == (COMPLAINT, "X-Gatepost-Token")
    assert report.notes == ()


def test_of_two_messages_that_of_the_token_header_counts() -> None:
    report = read(
        complaint(
            f"X-A: {token(COMPLAINT, message=OTHER)}\nX-Gatepost-Token: {token(COMPLAINT)}\n"
            f"CFBL-Feedback-ID: {token(COMPLAINT, message=OTHER)}"
        )
    )
    assert report.token is not None
    assert report.token.token.message == MESSAGE
    assert report.notes == ("tokens of several messages; the first counts",)


@pytest.mark.parametrize("name", ["CFBL-Feedback-ID", "X-Gatepost-Token", "X-Anything"])
@pytest.mark.parametrize("where", ["Original-Mail-From", "Return-Path"])
def test_a_header_with_the_token_of_anothers_mail_accuses_nobody(name: str, where: str) -> None:
    stolen = f"{name}: {token(COMPLAINT, message=OTHER)}\n"
    path = f"{where}: <{token(BOUNCE)}@bounces.example.net>\n"
    shown, fields = (path, "") if where == "Return-Path" else ("", path)
    note = f"the token in {name} is of another message than that in {where}, and proves nothing"
    alone = read(complaint(stolen + shown, fields))
    assert found(alone) == (BOUNCE, where)
    assert note in alone.notes
    # The message's own token is believed, wherever it stands.
    both = read(complaint(f"{stolen}{shown}Message-ID: <{token(COMPLAINT)}@x>", fields))
    assert found(both) == (COMPLAINT, "Message-ID")
    assert both.notes == (note,)


def test_the_address_of_a_bounce_goes_before_what_it_says_of_its_original() -> None:
    octets = (
        "From: MAILER-DAEMON@isp.example\nContent-Type: multipart/report; "
        "report-type=delivery-status; boundary=b\n\n--b\nContent-Type: message/delivery-status"
        f"\n\nOriginal-Envelope-Id: {token(BOUNCE, message=OTHER)}\n\n"
        "Final-Recipient: rfc822; a@isp.example\nAction: failed\nStatus: 5.1.1\n--b--\n"
    ).encode()
    report = read(octets, f"{token(BOUNCE)}@bounces.example.net")
    assert report.token is not None
    assert report.token.token.message == MESSAGE
    assert report.notes == ("tokens of several messages; the first counts",)


def test_a_token_header_of_another_name_is_known_by_it() -> None:
    octets = complaint(f"X-A: {token(COMPLAINT, message=OTHER)}\nMy-Token: ({token(COMPLAINT)})")
    assert found(read(octets)) == (COMPLAINT, "X-A")
    report = read_mail(octets, EnvelopeFacts(), KEYS, NOW, "My-Token")
    assert found(report) == (COMPLAINT, "My-Token")


def test_a_token_of_another_purpose_identifies_and_is_told() -> None:
    report = read(complaint(f"Return-Path: <{token(BOUNCE)}@b.example.net>"))
    assert report.token is not None
    assert report.token.token.tenant == TENANT
    assert report.notes == ("no complaint token; the bounce token only identifies",)


FALSE = "abcdefgh" * 6


def test_false_tokens_in_one_header_hide_none_in_another() -> None:
    false = f"X-Gatepost-Token: {FALSE}\n" * 900
    report = read(complaint(false + f"CFBL-Feedback-ID: {token(COMPLAINT)}"))
    assert found(report) == (COMPLAINT, "CFBL-Feedback-ID")


@pytest.mark.parametrize(("before", "is_found"), [(59, True), (60, False)])
def test_false_tokens_in_a_thousand_headers_cost_sixty_looks(
    before: int, *, is_found: bool
) -> None:
    false = "".join(f"X-{n}: {FALSE}\n" for n in range(before))
    report = read(complaint(false + f"X-Last: {token(COMPLAINT)}"))
    assert (report.token is not None) == is_found


def test_nothing_is_opened_without_keys() -> None:
    report = read(complaint(f"X-Gatepost-Token: {token(COMPLAINT)}"), keyring=Keyring({}, 0))
    assert report.token is None
