"""Reading in a process: signatures, what is not signed, our own bounces, and limits."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gatepost.errors import Unavailable
from gatepost.feedback.mime import parse_mime
from gatepost.feedback.report import Kind, Report
from gatepost.feedback.token import Purpose, Token, day_of, seal_token
from gatepost.feedback.trust import Authentication
from gatepost.runtime.feedback import report_origin
from gatepost.runtime.feedback.intake_worker import setup_of
from gatepost.runtime.feedback.reader_child import ReportReader
from gatepost.runtime.feedback.report_json import authentication_of, json_of, report_of
from gatepost.runtime.feedback.report_origin import Keys, is_own_bounce, signed_part
from gatepost.store.open import open_tls_reports
from gatepost.tls.dns_answer import DnsAnswer, Outcome
from lab.reporters import ReportSigner, bounce, cfbl_report, microsoft_report, yahoo_report
from tests.world import KEYS, NOW, snapshot

FBL = "fbl@fbl.example"
YAHOO = ReportSigner("arf.mail.yahoo.com")


def token(purpose: Purpose, index: int = 1, message: bytes = b"12345678") -> str:
    return seal_token(Token(7, message, index, day_of(NOW)), purpose, KEYS)


def original(*more: str) -> bytes:
    lines = (
        "From: news@acme.example", "To: u@b.example", "Message-ID: <1@acme.example>",
        f"X-Gatepost-Token: {token(Purpose.COMPLAINT)}", f"CFBL-Address: {FBL}; report=arf",
        f"CFBL-Feedback-ID: {token(Purpose.COMPLAINT)}", *more, "", "hello", "",
    )  # fmt: skip
    return "\r\n".join(lines).encode()


@dataclass
class Zone:
    """A resolver that knows these names, has no answer for others, and remembers questions."""

    records: dict[str, str] = field(default_factory=dict)
    failing: bool = False
    asked: list[str] = field(default_factory=list)

    async def txt(self, name: str) -> DnsAnswer[bytes]:
        self.asked.append(name)
        if self.failing:
            return DnsAnswer(Outcome.FAILED, reason="no answer")
        if name not in self.records:
            return DnsAnswer(Outcome.ABSENT, ttl_s=10)
        return DnsAnswer(Outcome.FOUND, (self.records[name].encode(),), ttl_s=300)


@pytest.fixture
def zone() -> Zone:
    return Zone({YAHOO.name: YAHOO.record})


@pytest.fixture
def reader(zone: Zone, tmp_path: Path) -> Any:
    keys = Keys(zone)  # type: ignore[arg-type]
    yield ReportReader(setup_of(snapshot(), (), f"sqlite:///{tmp_path}/g.db"), keys)
    keys.close()


def read(
    reader: ReportReader, octets: bytes, sender: str = "x@y.example", to: str = FBL
) -> tuple[Report, Authentication]:
    answer = reader.read(octets, sender, [to], NOW)
    (found,) = answer["reports"]
    return report_of(found["report"]), authentication_of(found["proven"])


def test_a_signed_report_is_the_signers(reader, zone):
    report, proven = read(reader, YAHOO.sign(yahoo_report(original(), FBL, "u@b.example")))
    assert report.kind is Kind.COMPLAINT
    assert report.token is not None
    assert report.token.purpose is Purpose.COMPLAINT
    assert proven == Authentication(("arf.mail.yahoo.com",), "feedback@arf.mail.yahoo.com")
    read(reader, YAHOO.sign(yahoo_report(original(), FBL, "u@b.example")))
    assert zone.asked == [YAHOO.name]


def test_large_mail_is_complained_about_as_well(reader):
    # As large as Postfix takes it without being told otherwise, and shown whole.
    large = original() + (b"x" * 76 + b"\r\n") * (10_240_000 // 78)
    report, proven = read(reader, YAHOO.sign(yahoo_report(large, FBL, "u@b.example")))
    assert (report.kind, proven.domains) == (Kind.COMPLAINT, ("arf.mail.yahoo.com",))
    assert report.token is not None


def test_a_report_as_json_and_back(reader):
    for mail in (
        YAHOO.sign(yahoo_report(original(), FBL, "u@b.example")),
        bounce(f"{token(Purpose.BOUNCE)}@bounces.example", "u@b.example"),
    ):
        report, _ = read(reader, mail)
        assert report_of(json_of(report)) == report


@pytest.mark.parametrize(
    "mail",
    [
        yahoo_report(original(), FBL, "u@b.example"),
        YAHOO.sign(yahoo_report(original(), FBL, "u@b.example")).replace(b"hello", b"HELLO"),
        YAHOO.sign(yahoo_report(original(), FBL, "u@b.example"), length=True) + b"more",
        YAHOO.sign(yahoo_report(original(), FBL, "u@b.example"), length=True),
        YAHOO.sign(yahoo_report(original(), FBL, "u@b.example")).replace(b"d=arf", b"d=x"),
        b"DKIM-Signature: v=1; d=arf.mail.yahoo.com; s=lab\r\n"
        + yahoo_report(original(), FBL, "u@b.example"),
        b"DKIM-Signature: " + b"x" * 5000 + b"\r\n" + yahoo_report(original(), FBL, "u@b.example"),
    ],
    ids=["none", "changed", "appended", "length", "domain", "garbled", "noise"],
)
def test_what_does_not_verify_is_nobodys(reader, mail):
    _, proven = read(reader, mail)
    assert proven.domains == ()
    assert proven.reason


def test_a_second_from_breaks_the_signature(reader):
    signed = YAHOO.sign(yahoo_report(original(), FBL, "u@b.example"))
    assert read(reader, b"From: evil@x.example\r\n" + signed)[1].domains == ()


def test_what_stands_above_a_signed_report_is_not_the_reporters(reader):
    # A genuine report about somebody else's mail, and our token written on top of it.
    foreign = b"From: a@b.example\r\nMessage-ID: <2@b.example>\r\n\r\nx\r\n"
    signed = YAHOO.sign(yahoo_report(foreign, FBL, "u@b.example"))
    forged = f"X-Gatepost-Token: {token(Purpose.COMPLAINT)}\r\n".encode() + signed
    report, proven = read(reader, forged)
    assert proven.domains == ("arf.mail.yahoo.com",)
    assert report.token is None


def test_dns_trouble_is_for_another_time(reader, zone):
    zone.failing = True
    signed = YAHOO.sign(yahoo_report(original(), FBL, "u@b.example"))
    assert reader.read(signed, "", [FBL], NOW) == {"later": "no answer"}
    again = reader.read(signed, "", [FBL], NOW)
    assert "a moment ago" in again["later"]
    assert len(zone.asked) == 1


def test_name_servers_of_strangers_are_not_asked(reader, zone):
    stranger = ReportSigner("evil.example")
    untokened = b"From: a@b.example\r\nMessage-ID: <2@b.example>\r\n\r\nx\r\n"
    read(reader, stranger.sign(yahoo_report(untokened, FBL, "u@b.example")))
    read(reader, stranger.sign(bounce("x@bounces.example", "u@b.example")))
    read(reader, stranger.sign(b"From: a@evil.example\r\nSubject: hi\r\n\r\nhello\r\n"))
    assert zone.asked == []


def test_many_signatures_cost_little(reader, zone):
    mail = yahoo_report(original(), FBL, "u@b.example")
    for number in range(20):
        mail = ReportSigner(f"d{number}.arf.mail.yahoo.com").sign(mail)
    read(reader, mail)
    assert len(zone.asked) == 5


def test_signatures_are_looked_at_once_for_all_recipients(reader, monkeypatch):
    looks: list[int] = []
    real = report_origin._verify

    def count(octets: bytes, index: int, keys: Keys) -> report_origin.Verified:
        looks.append(index)
        return real(octets, index, keys)

    monkeypatch.setattr(report_origin, "_verify", count)
    mail = YAHOO.sign(YAHOO.sign(yahoo_report(original(), FBL, "u@b.example")))
    many = [f"{number}@fbl.example" for number in range(20)]
    reports = reader.read(mail, "", many, NOW)["reports"]
    assert [each["proven"]["domains"] for each in reports] == [("arf.mail.yahoo.com",)] * 20
    assert looks == [0, 1]


def test_signatures_that_prove_nothing_ask_nobody(reader, zone):
    # With a token, and beside the claim of a provider: one of them makes DNS worth asking.
    mail = ReportSigner("dead.example").sign(yahoo_report(original(), FBL, "u@b.example"))
    read(reader, b"DKIM-Signature: v=1; d=arf.mail.yahoo.com; s=lab\r\n" + mail)
    assert not any("dead.example" in name for name in zone.asked)
    token_of_all = f"{token(Purpose.BOUNCE, 0)}@bounces.example"
    returned = bounce(token_of_all, "u@b.example")
    read(reader, ReportSigner("dead.example").sign(returned), to=token_of_all)
    assert zone.asked == []
    read(reader, ReportSigner("b.example").sign(returned), to=token_of_all)
    assert zone.asked == [ReportSigner("b.example").name]


def test_keys_of_providers_whose_format_is_cfbl(reader, zone):
    signer = ReportSigner("provider.example")
    zone.records[signer.name] = signer.record
    report, proven = read(reader, signer.sign(cfbl_report(original(), FBL, "provider.example")))
    assert (report.format, report.reporter) == ("cfbl", "provider.example")
    assert proven.domains == ("provider.example",)


def test_microsofts_new_form(reader, zone):
    signer = ReportSigner("hotmail.com")
    zone.records[signer.name] = signer.record
    report, proven = read(reader, signer.sign(microsoft_report(original(), FBL)))
    assert (report.kind, report.format) == (Kind.COMPLAINT, "jmrp")
    assert report.token is not None
    assert (proven.domains, proven.author) == (("hotmail.com",), "staff@hotmail.com")


def test_a_bounce_for_one_recipient_needs_no_dns(reader, zone):
    to = f"{token(Purpose.BOUNCE)}@bounces.example"
    report, _ = read(reader, bounce(to, "u@b.example"), "", to)
    assert report.kind is Kind.BOUNCE
    assert report.token is not None
    assert report.token.where == "envelope recipient"
    assert zone.asked == []


OWN = (
    "Received: by mail.example.net (Postfix)\r\n"
    "\tid 4XyZ12; Tue, 24 Nov 2026 12:00:00 +0000 (UTC)\r\n"
)


@pytest.mark.parametrize(
    ("received", "sender", "own"),
    [
        (OWN, "", True),
        (OWN, "a@b.example", False),
        (OWN.replace("(Postfix)", "(Postfix, from userid 0)"), "", False),
        ("Received: from x (x [192.0.2.1])\r\n\tby mail.example.net (Postfix) with ESMTP\r\n"
         "\tid 4X; Tue, 24 Nov 2026 12:00:00 +0000 (UTC)\r\n" + OWN, "", False),
        ("", "", False),
    ],
)  # fmt: skip
def test_our_own_bounces_are_known_by_their_first_received(received, sender, own):
    mail = parse_mime(received.encode() + bounce("t@bounces.example", "u@b.example"))
    assert is_own_bounce(mail, sender) is own


def test_only_signed_fields_are_left():
    mail = (
        b"Received: x\r\n y\r\nFrom: a\r\nX-Token: t\r\nSubject: s\r\n"
        b"Content-Type: text/plain;\r\n\tcharset=x\r\n\r\nbody\r\n\r\nmore"
    )
    assert signed_part(mail, [b"from", b"subject"]) == (
        b"From: a\r\nSubject: s\r\nContent-Type: text/plain;\r\n\tcharset=x\r\n\r\nbody\r\n\r\nmore"
    )
    assert signed_part(b"From: a\nX: b\n\nbody", [b"from"]) == b"From: a\n\r\nbody"
    assert signed_part(b"From: a\n", [b"from"]) == b"From: a\n\r\n"


TLS_REPORT = {
    "organization-name": "Provider",
    "date-range": {
        "start-datetime": "2026-11-23T00:00:00Z", "end-datetime": "2026-11-23T23:59:59Z",
    },
    "contact-info": "tls@provider.example",
    "report-id": "1@provider.example",
    "policies": [
        {
            "policy": {"policy-type": "sts", "policy-domain": "sender.example"},
            "summary": {"total-successful-session-count": 5, "total-failure-session-count": 2},
        }
    ],
}  # fmt: skip


def test_a_tls_report_goes_to_the_tls_side_once(reader, tmp_path):
    packed = base64.encodebytes(gzip.compress(json.dumps(TLS_REPORT).encode())).decode()
    mail = (
        "From: tls@provider.example\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type="tlsrpt"; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nA report.\r\n"
        "--b\r\nContent-Type: application/tlsrpt+gzip\r\n"
        f"Content-Transfer-Encoding: base64\r\n\r\n{packed}\r\n--b--\r\n"
    ).encode()
    for _ in range(2):
        assert read(reader, mail)[0].kind is Kind.TLS_REPORT
    with contextlib.closing(open_tls_reports(f"sqlite:///{tmp_path}/g.db")) as store:
        (found,) = store.domains(0)
    assert (found.domain, found.reports, found.failures) == ("sender.example", 1, 2)
    broken = mail.replace(packed[:8].encode(), b"AAAAAAAA")
    assert "error" in reader.read(broken, "", [FBL], NOW)


def test_undecipherable_mail_says_why(reader):
    nested = b"".join(
        b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(99)
    )
    assert "levels" in reader.read(nested, "", [FBL], NOW)["error"]


def test_keys_are_bounded_in_time(zone):
    now = [0.0]
    keys = Keys(zone, lambda: now[0])  # type: ignore[arg-type]
    keys.begin()
    assert keys.find(b"lab._domainkey.arf.mail.yahoo.com.") is not None
    assert keys.find(b"a._domainkey.b.example.") is None
    now[0] = 59.0
    keys.find(b"a._domainkey.b.example.")
    assert len(zone.asked) == 2
    now[0] = 61.0
    with pytest.raises(Unavailable, match="no answer in time"):
        keys.find(b"a._domainkey.b.example.")
    keys.begin()
    with pytest.raises(Unavailable, match="a moment ago"):
        keys.find(b"a._domainkey.b.example.")
    now[0] = 122.0
    keys.begin()
    assert keys.find(b"a._domainkey.b.example.") is None
    keys.close()


def test_one_dead_domain_after_the_other_holds_up_nobody(zone, monkeypatch):
    monkeypatch.setattr(report_origin, "HURRIED_S", 0.001)
    keys = Keys(zone)  # type: ignore[arg-type]
    zone.failing = True
    for number in range(report_origin.MAX_SILENT):
        keys.begin()
        with pytest.raises(Unavailable, match="no answer"):
            keys.find(f"a._domainkey.dead{number}.example")
    zone.failing = False

    async def hang(_: str) -> DnsAnswer[bytes]:
        await asyncio.sleep(report_origin.KEY_S / 2)
        return DnsAnswer(Outcome.ABSENT)

    monkeypatch.setattr(zone, "txt", hang)
    keys.begin()
    with pytest.raises(Unavailable, match="in time"):
        keys.find("a._domainkey.slow.example")
    keys.close()
