"""Who is believed: each combination of kind, token, signature and recipient."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatepost.errors import ConfigErrors
from gatepost.feedback.report import FoundToken, Kind, Original, Report, ReportedRecipient
from gatepost.feedback.reporters import Reporter, Reporters, parse_reporters, shipped_reporters
from gatepost.feedback.sent import Message
from gatepost.feedback.token import Purpose, Token
from gatepost.feedback.trust import Authentication, Result, aligned, judge

ONE = Message(b"12345678", 1.0, "acme", "4A", "s@acme.example", recipients=("U@b.example",))
TWO = replace(ONE, recipients=("u@b.example", "v@c.example"))
REPORTERS = Reporters(
    {
        "arf.example": Reporter("arf"),
        "mail.example": Reporter("m", frozenset({"staff@mail.example"})),
    }
)
LISTED = Authentication(("arf.example",))
NOBODY = Authentication()


def token(purpose: Purpose, index: int = 1) -> FoundToken:
    return FoundToken(Token(1, ONE.id, index, 1), purpose, "somewhere")


TOKEN = token(Purpose.COMPLAINT)


def complaint(found: FoundToken | None = TOKEN, **fields: object) -> Report:
    plain = Report(Kind.COMPLAINT, "arf", "arf.example", "abuse", token=found)
    return replace(plain, **fields)  # type: ignore[arg-type]


def bounce(index: int, *addresses: str) -> Report:
    named = tuple(ReportedRecipient(each, "5.1.1", "failed") for each in addresses)
    return Report(
        Kind.BOUNCE, "dsn", "b.example", recipients=named, token=token(Purpose.BOUNCE, index)
    )


def about(report: Report, proven: Authentication, message: Message | None) -> tuple[str, ...]:
    judgement = judge(report, proven, message, REPORTERS)
    assert bool(judgement.about) is (judgement.result is Result.BELIEVED)
    return tuple(each.address for each in judgement.about)


def result(report: Report, proven: Authentication, message: Message | None = ONE) -> Result:
    return judge(report, proven, message, REPORTERS).result


def test_a_complaint_needs_both_gates():
    assert result(complaint(), LISTED) is Result.BELIEVED
    assert result(complaint(), NOBODY) is Result.UNAUTHENTICATED
    assert result(complaint(None), LISTED) is Result.NO_TOKEN
    assert result(complaint(None), NOBODY) is Result.NEITHER
    assert result(complaint(), LISTED, None) is Result.NOT_SENT


def test_a_complaint_names_the_recipient_of_its_token_whatever_it_says():
    claimed = complaint(recipients=(ReportedRecipient("victim@b.example"),))
    assert about(claimed, LISTED, ONE) == ("U@b.example",)
    assert about(claimed, LISTED, TWO) == ("u@b.example",)


@pytest.mark.parametrize("purpose", [Purpose.BOUNCE, Purpose.UNSUBSCRIBE, Purpose.SESSION])
def test_a_token_of_another_purpose_opens_no_gate(purpose):
    assert result(complaint(token(purpose)), LISTED) is Result.NO_TOKEN


def test_a_signature_that_is_not_a_reporters_opens_no_gate():
    assert result(complaint(), Authentication(("evil.example",))) is Result.UNAUTHENTICATED
    # Whatever From: says.
    forged = Authentication(("evil.example",), "feedback@arf.example")
    assert result(complaint(), forged) is Result.UNAUTHENTICATED


def test_a_domain_below_a_reporters_is_the_reporters():
    assert result(complaint(), Authentication(("x.arf.example",))) is Result.BELIEVED
    assert result(complaint(), Authentication(("xarf.example",))) is Result.UNAUTHENTICATED


def test_a_provider_of_mailboxes_reports_from_one_address_only():
    user = Authentication(("mail.example",), "anybody@mail.example")
    assert result(complaint(), user) is Result.UNAUTHENTICATED
    staff = Authentication(("mail.example",), "Staff@mail.example")
    assert result(complaint(), staff) is Result.BELIEVED


def test_cfbl_needs_a_signature_of_its_author():
    report = complaint(format="cfbl", reporter="fbl.provider.example")
    assert result(report, Authentication(("provider.example",))) is Result.BELIEVED
    assert result(report, Authentication(("fbl.provider.example",))) is Result.BELIEVED
    assert result(report, Authentication(("evil.example",))) is Result.UNAUTHENTICATED
    assert result(report, Authentication(("example",))) is Result.UNAUTHENTICATED
    assert result(complaint(format="arf"), Authentication(("provider.example",))) is (
        Result.UNAUTHENTICATED
    )


def test_a_user_of_a_listed_provider_is_no_reporter_by_cfbl_either():
    report = complaint(format="cfbl", reporter="mail.example")
    user = Authentication(("mail.example",), "anybody@mail.example")
    assert result(report, user) is Result.UNAUTHENTICATED


def test_a_token_of_the_message_needs_the_recipient_named():
    many = complaint(token(Purpose.COMPLAINT, 0))
    assert about(many, LISTED, ONE) == ("U@b.example",)
    named = replace(many, recipients=(ReportedRecipient("V@C.example"),))
    assert about(named, LISTED, TWO) == ("v@c.example",)
    # Taken out: the tenant is told, and nobody is suppressed.
    assert about(replace(many, recipients=(ReportedRecipient(""),)), LISTED, TWO) == ("",)
    assert about(replace(many, recipients=(ReportedRecipient("x@y.example"),)), LISTED, TWO) == (
        "",
    )


def test_of_a_message_to_many_cfbl_speaks_for_its_own_users_only():
    report = complaint(
        token(Purpose.COMPLAINT, 0), format="cfbl", reporter="b.example",
        recipients=(ReportedRecipient("v@c.example"),),
    )  # fmt: skip
    assert result(report, Authentication(("b.example",)), TWO) is Result.UNAUTHENTICATED
    own = replace(report, recipients=(ReportedRecipient("u@b.example"),))
    assert about(own, Authentication(("b.example",)), TWO) == ("u@b.example",)


def test_of_several_the_original_address_names_one_that_was_forwarded():
    led = ReportedRecipient("box@d.example", "5.1.1", "failed", original_address="v@c.example")
    report = replace(bounce(0), recipients=(led,))
    assert about(report, Authentication(own=True), TWO) == ("v@c.example",)
    # The address that it claims is still one that nobody else may speak for.
    assert result(report, Authentication(("d.example",)), TWO) is Result.UNAUTHENTICATED
    both = replace(led, address="u@b.example")
    assert about(replace(report, recipients=(both,)), Authentication(own=True), TWO) == (
        "u@b.example",
    )


@pytest.mark.parametrize("where", ["X-Anything", "Message-Id"])
def test_a_token_copied_into_other_mail_accuses_nobody(where):
    ours = replace(ONE, message_id="<1@acme.example>")
    copied = complaint(replace(TOKEN, where=where), original=Original("<2@bee.example>"))
    assert result(copied, LISTED, ours) is Result.NO_TOKEN
    # It is the message's own, cannot be told, or stands where we write.
    for original in (Original(" <1@acme.example>"), Original("")):
        assert result(replace(copied, original=original), LISTED, ours) is Result.BELIEVED
    assert result(copied, LISTED, ONE) is Result.BELIEVED


@pytest.mark.parametrize("where", ["CFBL-Feedback-ID", "X-Gatepost-Token", "X-Mine"])
def test_where_we_write_a_new_message_id_is_no_matter(where):
    ours = replace(ONE, message_id="<1@acme.example>")
    report = complaint(replace(TOKEN, where=where), original=Original("<2@relay.example>"))
    header = "x-mine" if where == "X-Mine" else "X-Gatepost-Token"
    assert judge(report, LISTED, ours, REPORTERS, header).result is Result.BELIEVED


def test_a_recipient_that_the_book_does_not_have():
    assert result(complaint(token(Purpose.COMPLAINT, 3)), LISTED, TWO) is Result.NOT_SENT


def test_a_bounce_is_had_by_the_token_of_its_recipient():
    forwarded = bounce(1, "elsewhere@d.example")
    assert about(forwarded, NOBODY, TWO) == ("u@b.example",)
    (found,) = judge(forwarded, NOBODY, TWO, REPORTERS).about
    assert found.reported is forwarded.recipients[0]


def test_a_bounce_of_several_tells_of_the_one_that_its_token_names():
    report = bounce(2, "u@b.example", "v@c.example")
    (found,) = judge(report, NOBODY, TWO, REPORTERS).about
    assert found.reported is report.recipients[1]


def test_no_recipient_can_bounce_another_one_of_the_message():
    forged = bounce(0, "v@c.example")
    assert result(forged, NOBODY, TWO) is Result.UNAUTHENTICATED
    assert result(forged, Authentication(("b.example",)), TWO) is Result.UNAUTHENTICATED
    assert about(forged, Authentication(("c.example",)), TWO) == ("v@c.example",)
    assert about(forged, Authentication(own=True), TWO) == ("v@c.example",)
    assert result(bounce(0, "x@c.example"), Authentication(own=True), TWO) is Result.NOT_SENT


def test_an_unsubscription_needs_its_token_and_nothing_else():
    report = Report(Kind.UNSUBSCRIBE, "list-unsubscribe", token=token(Purpose.UNSUBSCRIBE))
    assert about(report, NOBODY, ONE) == ("U@b.example",)
    assert result(replace(report, token=token(Purpose.COMPLAINT)), LISTED) is Result.NO_TOKEN
    assert result(replace(report, token=None), LISTED) is Result.NO_TOKEN
    many = replace(report, token=token(Purpose.UNSUBSCRIBE, 0))
    assert result(many, LISTED, TWO) is Result.UNAUTHENTICATED


@pytest.mark.parametrize("kind", [Kind.AUTH_FAILURE, Kind.AUTO_REPLY, Kind.NOT_SPAM, Kind.UNKNOWN])
def test_nothing_follows_from_other_kinds(kind):
    assert result(complaint(kind=kind), LISTED) is Result.COUNTED


def test_a_tls_report_is_for_the_tls_side():
    assert result(complaint(kind=Kind.TLS_REPORT), LISTED) is Result.TLS_REPORT


def test_incidents_multiply_nothing():
    assert about(complaint(incidents=500), LISTED, ONE) == ("U@b.example",)


@pytest.mark.parametrize(
    ("signer", "domain", "speaks"),
    [
        ("b.example.com", "b.example.com", True),
        ("example.com", "b.example.com", True),
        ("b.example.com", "example.com", False),
        ("com", "example.com", False),
        ("co.uk", "example.co.uk", False),
        ("", "", False),
        ("", "example.com", False),
    ],
)
def test_alignment(signer, domain, speaks):
    assert aligned(signer, domain) is speaks


def test_the_shipped_list():
    shipped = shipped_reporters()
    assert shipped.find("arf.mail.yahoo.com", "") is not None
    assert shipped.find("yahoo.com", "") is None
    assert shipped.find("hotmail.com", "joe@hotmail.com") is None
    assert shipped.find("hotmail.com", "Staff@Hotmail.com") is not None


@pytest.mark.parametrize(
    "text",
    [
        "x: {domains: [a.example]}",
        "x: {source: s}",
        "x: {domains: [], source: s}",
        "x: {domains: [not a domain], source: s}",
        "x: {domains: [1], source: s}",
        "x: {domain: [a.example], source: s}",
        "x: y",
    ],
)
def test_a_list_with_a_mistake_names_it(text):
    with pytest.raises(ConfigErrors, match=r"reporters\.yaml: x:"):
        parse_reporters(text)
