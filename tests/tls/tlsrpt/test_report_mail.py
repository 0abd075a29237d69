"""TLS reports in mail: as RFC 8460 wants it, and every other way they come."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import MalformedMessage
from gatepost.tls.tlsrpt import limits as bounds
from gatepost.tls.tlsrpt import read_report
from gatepost.tls.tlsrpt.json_report import parse_json
from gatepost.tls.tlsrpt.mail import MAX_CONTAINERS, MAX_PARTS, parse_mail
from tests.tls.tlsrpt.example import DAY, changed, octets


def policy(document: Any) -> Any:
    return document["policies"][0]["policy"]


def mail(
    part: bytes,
    *,
    kind: str = "application/tlsrpt+gzip",
    top: str = "multipart/report; report-type=tlsrpt",
    name: str = "company-x.example!company-y.example!1459468800!1459555199!001.json.gz",
    head: str = "TLS-Report-Domain: company-y.example\nTLS-Report-Submitter: company-x.example\n",
    encoding: str = "base64",
) -> bytes:
    body = base64.encodebytes(part) if encoding == "base64" else part
    return (
        (
            f"From: r@company-x.example\nSubject: Report Domain: company-y.example\n{head}"
            f'MIME-Version: 1.0\nContent-Type: {top}; boundary="=_b"\n\n'
            "preamble\n--=_b\nContent-Type: text/plain\n\nThis is a report. {\n"
            f'--=_b\nContent-Type: {kind}\nContent-Disposition: attachment; filename="{name}"\n'
            f"Content-Transfer-Encoding: {encoding}\n\n"
        ).encode()
        + body
        + b"\n--=_b--\n"
    )


def test_a_mail_as_in_the_standard() -> None:
    [report] = parse_mail(mail(gzip.compress(octets())))
    assert report == parse_json(octets())
    [report] = parse_mail(mail(octets(), kind="application/tlsrpt+json"))
    assert report == parse_json(octets())


def test_a_mail_with_crlf() -> None:
    message = mail(octets(), kind="application/tlsrpt+json").replace(b"\n", b"\r\n")
    assert parse_mail(message) == (parse_json(octets()),)


@pytest.mark.parametrize(
    ("part", "kind", "top", "name"),
    [
        (gzip.compress(octets()), "application/gzip", "multipart/mixed", "r.json.gz"),
        (gzip.compress(octets()), "application/x-gzip", "multipart/report", "r.gz"),
        (gzip.compress(octets()), "application/octet-stream", "multipart/mixed", "unnamed"),
        (octets(), "application/json", "multipart/mixed", "r.json"),
        (octets(), "text/plain; charset=nonsense", "multipart/mixed", "r.txt"),
        # The type says gzip and the content is not, and the other way round.
        (octets(), "application/tlsrpt+gzip", "multipart/report; report-type=tlsrpt", "r.json"),
        (gzip.compress(octets()), "application/tlsrpt+json", "multipart/report", "r.json"),
    ],
)
def test_mails_that_deviate(part: bytes, kind: str, top: str, name: str) -> None:
    [report] = parse_mail(mail(part, kind=kind, top=top, name=name))
    assert report.policies == parse_json(octets()).policies
    declared = kind.startswith("application/tlsrpt") and "report-type" in top
    assert bool(report.deviations) is not declared


def test_a_report_that_is_the_whole_body() -> None:
    message = b"Subject: x\nContent-Type: application/json\n\n" + octets()
    assert parse_mail(message)[0].policies == parse_json(octets()).policies


def test_a_forwarded_report() -> None:
    message = b"Subject: Fwd\nContent-Type: message/rfc822\n\n" + mail(gzip.compress(octets()))
    assert parse_mail(message)[0].policies == parse_json(octets()).policies


def test_gaps_are_filled_from_header_and_name() -> None:
    document = changed(
        lambda d: (policy(d).pop("policy-domain"), d.pop("date-range"), d.pop("organization-name"))
    )
    [report] = parse_mail(mail(octets(document)))
    assert report.domains == ("company-y.example",)
    assert (report.organization, report.start) == ("company-x.example", DAY)


def test_the_header_goes_before_the_name_of_the_file() -> None:
    def change(document: Any) -> None:
        policy(document).pop("policy-domain")
        document.pop("organization-name")

    name = "other.example!elsewhere.example!1459468800!1459555199.json"
    [report] = parse_mail(mail(octets(changed(change)), name=name))
    assert (report.domains, report.organization) == (("company-y.example",), "company-x.example")
    [report] = parse_mail(mail(octets(changed(change)), name=name, head=""))
    assert (report.domains, report.organization) == (("elsewhere.example",), "other.example")


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_mailbox_is_not_taken_for_its_first_mail(end: bytes) -> None:
    first = b"From rua@x.example Tue Nov 24 10:00:00 2026\n" + mail(octets()) + b"\n\n"
    assert parse_mail(first.replace(b"\n", end)) == parse_mail(mail(octets()))
    with pytest.raises(MalformedMessage, match="formail"):
        parse_mail((first + first).replace(b"\n", end))


def test_a_mail_that_is_larger_than_gzip_and_a_mail_in_gzip() -> None:
    message = mail(gzip.compress(octets()))
    assert read_report(gzip.compress(message)) == read_report(message)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"Subject: hello\n\nno report\n", "carries no TLS report"),
        (mail(b"\x1f\x8bbroken"), "damaged"),
        (mail(b"{}", kind="application/tlsrpt+json"), "no policies"),
        (b"\n--x" * (2 * MAX_PARTS + 1), "parts"),
        (b"Content-Type: multipart/mixed; boundary=a\n\n" * (MAX_CONTAINERS + 1), "multiparts"),
        (b"x" * (bounds.MAX_OCTETS + 1), "more than"),
        # What makes the email package raise: a number that int() refuses.
        (
            b"Content-Type: application/json; name*" + b"1" * 5000 + b"=x\n\n{",
            "cannot be read|no JSON|no TLS report",
        ),
    ],
)
def test_mails_without_a_report(message: bytes, problem: str) -> None:
    with pytest.raises(MalformedMessage, match=problem):
        parse_mail(message)


@given(
    name=st.text(max_size=20),
    counts=st.lists(st.integers(0, 10**6), min_size=2, max_size=5),
    domain=st.sampled_from(["a.example", "b.c.example"]),
)
def test_what_is_written_as_in_the_standard_comes_out(
    name: str, counts: list[int], domain: str
) -> None:
    document = changed(lambda d: policy(d).__setitem__("policy-domain", domain))
    document["organization-name"] = name or "x"
    document["policies"][0]["failure-details"] = [
        {"result-type": "certificate-expired", "failed-session-count": n} for n in counts
    ]
    document["policies"][0]["summary"]["total-failure-session-count"] = sum(counts)
    [report] = parse_mail(mail(gzip.compress(octets(document))))
    [result] = report.policies
    assert [detail.count for detail in result.details] == counts
    assert (result.domain, result.unexplained) == (domain, 0)
