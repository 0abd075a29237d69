"""The tables of TLS reports; see `schema`."""

from __future__ import annotations

from sqlite_utils import Database


def tls_reports(db: Database) -> None:
    """Make the tables of reports, their policies and the failures of those."""
    db.table("tls_reports").create(
        {
            "id": int,
            "key": str,
            "content": str,
            "organization": str,
            "report_id": str,
            "contact": str,
            "start": float,
            "end": float,
            "received_at": float,
            "source": str,
            "deviations": str,
        },
        pk="id",
        not_null=("key", "content", "organization", "report_id", "start", "received_at"),
    )
    db.table("tls_reports").create_index(["key"], unique=True)
    db.table("tls_reports").create_index(["start"])
    db.table("tls_report_policies").create(
        {
            "id": int,
            "report": int,
            "domain": str,
            "policy_type": str,
            "successes": int,
            "failures": int,
            "strings": str,
            "mx_hosts": str,
        },
        pk="id",
        not_null=("report", "domain", "policy_type", "successes", "failures"),
    )
    db.table("tls_report_policies").create_index(["report"])
    db.table("tls_report_policies").create_index(["domain"])
    db.table("tls_report_failures").create(
        {
            "id": int,
            "policy": int,
            "result_type": str,
            "count": int,
            "sending_ip": str,
            "receiving_host": str,
            "receiving_helo": str,
            "receiving_ip": str,
            "reason": str,
            "information": str,
        },
        pk="id",
        not_null=("policy", "result_type", "count"),
    )
    db.table("tls_report_failures").create_index(["policy"])
