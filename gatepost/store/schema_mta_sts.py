"""The table of MTA-STS policies; a step of `gatepost.store.schema`."""

from __future__ import annotations

from sqlite_utils import Database


def mta_sts(db: Database) -> None:
    """Make the table."""
    db.table("mta_sts").create(
        {
            "domain": str,
            "policy": str,
            "policy_id": str,
            "fetched_at": float,
            "failed_at": float,
            "failed_id": str,
            "failure": str,
            "reason": str,
            "failures": int,
        },
        pk="domain",
    )
