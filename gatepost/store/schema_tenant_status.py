"""The tables of tenants' status; see `schema`."""

from __future__ import annotations

from sqlite_utils import Database


def tenant_status(db: Database) -> None:
    """Make the tables."""
    db.table("tenant_status").create(
        {
            "tenant": str,
            "step": int,
            "since": float,
            "why": str,
            "counted_from": float,
            # The operator's pause; an empty scope is none.
            "scope": str,
            "reason": str,
            "paused_at": float,
            "until": float,
            "by": str,
        },
        pk="tenant",
        not_null=("step", "since", "why", "counted_from", "scope", "reason", "paused_at", "by"),
    )
    db.table("tenant_status_version").create({"id": int, "version": int}, pk="id")
    db.table("tenant_status_version").insert({"id": 1, "version": 0})


def tenant_pauses(db: Database) -> None:
    """Add what becomes of queued mail, and the pauses of parts of a tenant's mail."""
    db.table("tenant_status").add_column("queued", str, not_null_default="keep")
    db.table("tenant_pauses").create(
        {
            "tenant": str,
            "campaign": str,
            "domain": str,
            "reason": str,
            "paused_at": float,
            "until": float,
            "by": str,
            "queued": str,
        },
        pk=("tenant", "campaign", "domain"),
        not_null=("reason", "paused_at", "by", "queued"),
    )
