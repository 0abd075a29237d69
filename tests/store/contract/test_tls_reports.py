"""What every store must do with TLS reports."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gatepost.store.open import open_tls_reports
from gatepost.store.tls_reports import Added, TlsReportStore
from gatepost.tls.tlsrpt import FailureDetail, PolicyResult, TlsReport

DAY = 86_400.0
START = 20_000 * DAY
NOW = START + 2 * DAY

EXPIRED = FailureDetail("certificate-expired", 100, receiving_host="mx1.a.example")
NO_TLS = FailureDetail("starttls-not-supported", 3, receiving_host="mx2.a.example", reason="why")


@pytest.fixture
def reports(url: str) -> Iterator[TlsReportStore]:
    with contextlib.closing(open_tls_reports(url)) as opened:
        yield opened


def policy(domain: str = "a.example", *details: FailureDetail, **fields: int) -> PolicyResult:
    failures = fields.get("failures", sum(each.count for each in details))
    return PolicyResult(domain, "sts", fields.get("successes", 10), failures, details)


def report(
    number: str = "1",
    *policies: PolicyResult,
    organization: str = "Sender Inc.",
    start: float | None = START,
) -> TlsReport:
    end = None if start is None else start + DAY - 1
    return TlsReport(organization, number, start, end, "c@sender.example", policies or (policy(),))


def test_an_empty_store_has_nothing_to_say(reports: TlsReportStore) -> None:
    assert reports.domains(0) == []
    assert reports.prune(NOW) == 0


def test_the_same_report_counts_once(reports: TlsReportStore) -> None:
    one = report("1", policy("a.example", EXPIRED))
    assert reports.add(one, NOW, "one.json") is Added.NEW
    assert reports.add(one, NOW + 1, "copy.json") is Added.KNOWN
    # How it was written is no other content.
    assert reports.add(replace(one, deviations=("x",)), NOW) is Added.KNOWN
    assert reports.add(replace(one, organization="SENDER INC."), NOW) is Added.DIFFERS
    assert reports.add(replace(one, policies=(policy("a.example"),)), NOW) is Added.DIFFERS
    [found] = reports.domains(0)
    assert (found.reports, found.failures) == (1, 100)


def test_another_id_organization_day_or_domain_is_another_report(reports: TlsReportStore) -> None:
    others = [
        report("1"),
        report("2"),
        report("1", organization="Other"),
        report("1", start=START + DAY),
        report("1", policy("b.example")),
    ]
    assert [reports.add(each, NOW) for each in others] == [Added.NEW] * 5
    assert {each.domain: each.reports for each in reports.domains(0)} == {
        "a.example": 4,
        "b.example": 1,
    }


def test_sums_by_domain_and_type(reports: TlsReportStore) -> None:
    reports.add(report("1", policy("a.example", EXPIRED, NO_TLS), policy("b.example")), NOW)
    more = replace(EXPIRED, count=5, receiving_host="mx3.a.example")
    later = report("2", policy("a.example", more), organization="Zeta", start=START + DAY)
    reports.add(later, NOW)
    first, second = reports.domains(0)
    assert (first.domain, first.successes, first.failures) == ("a.example", 20, 108)
    assert first.organizations == ("Sender Inc.", "Zeta")
    assert (first.first_at, first.last_at) == (START, START + DAY)
    expired, no_tls = first.by_type
    assert (expired.result_type, expired.count) == ("certificate-expired", 105)
    assert expired.hosts == ("mx1.a.example", "mx3.a.example")
    assert expired.organizations == ("Sender Inc.", "Zeta")
    assert expired.last_at == START + DAY
    assert (no_tls.count, no_tls.reason, no_tls.last_at) == (3, "why", START)
    assert (second.domain, second.failures, second.by_type) == ("b.example", 0, ())


def test_failures_that_no_detail_explains_are_shown(reports: TlsReportStore) -> None:
    reports.add(report("1", policy("a.example", NO_TLS, failures=10)), NOW)
    reports.add(report("2", policy("a.example", NO_TLS, failures=1)), NOW)
    [found] = reports.domains(0)
    assert {each.result_type: each.count for each in found.by_type} == {
        "starttls-not-supported": 6,
        "unspecified": 7,
    }


def test_since_and_domain(reports: TlsReportStore) -> None:
    reports.add(report("1", policy("a.example", EXPIRED)), NOW)
    reports.add(report("2", policy("b.example", EXPIRED), start=START + DAY), NOW)
    assert [each.domain for each in reports.domains(START + DAY)] == ["b.example"]
    [found] = reports.domains(0, "a.example")
    assert (found.domain, found.by_type[0].count) == ("a.example", 100)
    assert reports.domains(0, "c.example") == []


def test_without_a_period_the_time_of_receipt_stands_for_it(reports: TlsReportStore) -> None:
    assert reports.add(report("1", start=None), NOW) is Added.NEW
    assert reports.add(report("1", start=None), NOW + DAY) is Added.KNOWN
    [found] = reports.domains(0)
    assert found.last_at == NOW


def test_a_report_of_times_to_come_does_not_stay_for_ever(reports: TlsReportStore) -> None:
    reports.add(report("1", start=NOW + 170 * 365 * DAY), NOW)
    [found] = reports.domains(0)
    assert found.last_at == NOW
    assert reports.prune(NOW + 1) == 1
    # The clock of a sender may be a little ahead.
    reports.add(report("2", start=NOW + DAY), NOW)
    assert reports.domains(0)[0].last_at == NOW + DAY


def test_pruning(reports: TlsReportStore) -> None:
    reports.add(report("1", policy("a.example", EXPIRED)), NOW)
    reports.add(report("2", policy("a.example", NO_TLS), start=START + DAY), NOW)
    assert reports.prune(START + DAY) == 1
    [found] = reports.domains(0)
    assert [each.result_type for each in found.by_type] == ["starttls-not-supported"]
    assert reports.add(report("1", policy("a.example", EXPIRED)), NOW) is Added.NEW


def test_texts_of_strangers_are_stored_readably(reports: TlsReportStore) -> None:
    hostile = FailureDetail("x'\"; drop table tls_reports; --", 1, reason="\0\n\x1b[31m\ud800")
    odd = report("'\0\"", policy("", hostile), organization='a","b')
    assert reports.add(odd, NOW) is Added.NEW
    [found] = reports.domains(0)
    assert found.organizations == ('a","b',)
    assert found.by_type[0].result_type == "x'\"; drop table tls_reports; --"


def test_sums_do_not_overflow(reports: TlsReportStore) -> None:
    huge = policy("a.example", FailureDetail("x", 10**12), successes=10**12)
    for number in range(20):
        reports.add(report(str(number), *[huge] * 50), NOW)
    [found] = reports.domains(0)
    assert (found.failures, found.successes) == (10**15, 10**15)
