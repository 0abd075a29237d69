"""TLS reports in SQLite; see `tls_reports` for what may be asked, `sqlite_file` for the rest."""

# ruff: noqa: S608
# All that is put together into SQL are constants of this module; values are bound.

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from sqlite_utils import Database

from gatepost.store.sqlite_file import SqliteFile, storable
from gatepost.store.tls_reports import Added, DomainSum, FailureSum
from gatepost.tls.tlsrpt.model import UNSPECIFIED, PolicyResult, TlsReport

# Periods end with a day of UTC, and clocks differ.
AHEAD_S = 2 * 86_400.0

_REPORT = """
insert into tls_reports (key, content, organization, report_id, contact, start, end, received_at,
    source, deviations) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_POLICY = """
insert into tls_report_policies
    (report, domain, policy_type, successes, failures, strings, mx_hosts)
values (?, ?, ?, ?, ?, ?, ?)
"""
_FAILURE = """
insert into tls_report_failures (policy, result_type, count, sending_ip, receiving_host,
    receiving_helo, receiving_ip, reason, information) values (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_OF_PERIOD = """
from tls_reports r join tls_report_policies p on p.report = r.id
where r.start >= :since and (:domain is null or p.domain = :domain)
"""
# json_group_array, since a name may hold whatever a separator could be.
_DOMAINS = f"""
select p.domain, json_group_array(distinct p.policy_type), sum(p.successes), sum(p.failures),
    count(distinct r.id), json_group_array(distinct r.organization), min(r.start), max(r.start)
{_OF_PERIOD} group by p.domain order by sum(p.failures) desc, sum(p.successes) desc, p.domain
"""
_BY_TYPE = f"""
select domain, result_type, sum(count) as n, json_group_array(distinct organization),
    json_group_array(distinct receiving_host), max(start), max(reason)
from (
    select p.domain, f.result_type, f.count, r.organization, f.receiving_host, r.start, f.reason
    from tls_reports r join tls_report_policies p on p.report = r.id
        join tls_report_failures f on f.policy = p.id
    where r.start >= :since and (:domain is null or p.domain = :domain)
    union all
    select p.domain, '{UNSPECIFIED}', p.failures - (
        select coalesce(sum(f.count), 0) from tls_report_failures f where f.policy = p.id
    ) as rest, r.organization, '', r.start, ''
    {_OF_PERIOD} and rest > 0
)
group by domain, result_type order by n desc, result_type
"""
_OLD_REPORTS = "select id from tls_reports where start < :before"
_OLD_POLICIES = f"select id from tls_report_policies where report in ({_OLD_REPORTS})"
_FORGET = (
    f"delete from tls_report_failures where policy in ({_OLD_POLICIES})",
    f"delete from tls_report_policies where report in ({_OLD_REPORTS})",
    "delete from tls_reports where start < :before",
)


class SqliteTlsReports(SqliteFile):
    """Implements `TlsReportStore`."""

    def add(self, report: TlsReport, received_at: float, source: str = "") -> Added:
        """See `TlsReportStore.add`."""
        content = _content(report)
        with self._writing() as db:
            there = db.execute(
                "select content from tls_reports where key = ?", [report.key]
            ).fetchone()
            if there is not None:
                return Added.KNOWN if there[0] == content else Added.DIFFERS
            _insert(db, report, content, received_at, source)
        return Added.NEW

    def domains(self, since: float, domain: str | None = None) -> list[DomainSum]:
        """See `TlsReportStore.domains`."""
        values = {"since": since, "domain": domain}
        # One transaction, so that a report between the two queries cannot show in one of them.
        with self._database() as db, db.atomic():
            sums = db.execute(_DOMAINS, values).fetchall()
            failures = db.execute(_BY_TYPE, values).fetchall()
        by_domain: dict[str, list[FailureSum]] = {}
        for of_domain, result_type, count, organizations, hosts, last_at, reason in failures:
            by_domain.setdefault(of_domain, []).append(
                FailureSum(
                    result_type, count, _names(organizations), _names(hosts), last_at, reason
                )
            )
        return [
            DomainSum(
                name,
                _names(types),
                successes,
                failed,
                reports,
                _names(organizations),
                first_at,
                last_at,
                tuple(by_domain.get(name, ())),
            )
            for name, types, successes, failed, reports, organizations, first_at, last_at in sums
        ]

    def prune(self, before: float) -> int:
        """See `TlsReportStore.prune`."""
        with self._writing() as db:
            counts = [db.execute(step, {"before": before}).rowcount for step in _FORGET]
        return counts[-1]


def _insert(db: Database, report: TlsReport, content: str, received_at: float, source: str) -> None:
    start = report.start
    if start is None or start > received_at + AHEAD_S:
        # A report of times to come would stand in every sum, for ever.
        start = received_at
    row = (
        report.key,
        content,
        storable(report.organization),
        storable(report.report_id),
        storable(report.contact),
        start,
        report.end,
        received_at,
        storable(source),
        json.dumps(report.deviations),
    )
    number = db.execute(_REPORT, row).lastrowid
    for policy in report.policies:
        policy_number = db.execute(_POLICY, (number, *_policy_row(policy))).lastrowid
        db.conn.executemany(
            _FAILURE,
            [
                (policy_number, storable(each.result_type), each.count, *map(storable, texts))
                for each in policy.details
                for texts in [
                    (
                        each.sending_ip,
                        each.receiving_host,
                        each.receiving_helo,
                        each.receiving_ip,
                        each.reason,
                        each.information,
                    )
                ]
            ],
        )


def _policy_row(policy: PolicyResult) -> tuple[str | int, ...]:
    return (
        storable(policy.domain),
        storable(policy.policy_type),
        policy.successes,
        policy.failures,
        json.dumps(policy.strings),
        json.dumps(policy.mx_hosts),
    )


def _content(report: TlsReport) -> str:
    """Return what tells two reports with one key apart: all that they say."""
    said = repr(replace(report, deviations=()))
    return hashlib.sha256(said.encode("utf-8", "backslashreplace")).hexdigest()


def _names(array: str) -> tuple[str, ...]:
    return tuple(sorted(filter(None, json.loads(array))))
