"""The tables of the API: tenants and tokens; see `schema`."""

from __future__ import annotations

from sqlite_utils import Database


def api(db: Database) -> None:
    """Make the tables."""
    db.table("api_tenants").create(
        {"id": str, "settings": str, "version": int, "by": str, "at": float},
        pk="id",
        not_null=("settings", "version", "by", "at"),
    )
    db.table("api_tenants_mark").create({"id": int, "version": int, "nonce": str}, pk="id")
    db.table("api_tenants_mark").insert({"id": 1, "version": 0, "nonce": ""})
    db.table("api_tokens").create(
        {
            "name": str,
            "digest": bytes,
            "tenant": str,
            "read_only": int,
            "created": float,
            "by": str,
            "expires": float,
        },
        pk="name",
        not_null=("digest", "tenant", "read_only", "created", "by"),
    )
    db.table("api_tokens").create_index(["digest"], unique=True)
