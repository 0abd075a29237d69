"""The SQLite schema, as the list of steps that made it.

Purpose: a database of any older version is brought up to date when it is opened; one of a newer
version is refused, as its meaning is not known.
Limits: steps are never changed once released; a change is a new step at the end.
Errors: `migrate` raises sqlite3 errors, and `StoreUnavailable` for a newer version.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlite_utils import Database

from gatepost.errors import StoreUnavailable
from gatepost.store.schema_api import api
from gatepost.store.schema_deliveries import deliveries
from gatepost.store.schema_events import events, webhook_leases, webhooks
from gatepost.store.schema_held import held
from gatepost.store.schema_lanes import lanes
from gatepost.store.schema_messages import messages
from gatepost.store.schema_mta_sts import mta_sts
from gatepost.store.schema_quotas import quota_fleet, quota_refusals, quotas
from gatepost.store.schema_rates import rates
from gatepost.store.schema_received import received
from gatepost.store.schema_suppression import suppression
from gatepost.store.schema_survey import survey
from gatepost.store.schema_tenant_status import tenant_pauses, tenant_status
from gatepost.store.schema_tls_reports import tls_reports


def _observations(db: Database) -> None:
    db.table("observations").create(
        {
            "id": int,
            "at": float,
            "tenant": str,
            "feature": str,
            "action": str,
            "detail": str,
            "queue_id": str,
            "sender": str,
            "recipient": str,
        },
        pk="id",
        not_null=("at", "tenant", "feature", "action", "detail", "queue_id", "sender"),
    )
    db.table("observation_hours").create(
        {"hour": int, "tenant": str, "feature": str, "action": str, "count": int},
        pk=("hour", "tenant", "feature", "action"),
        not_null=("count",),
    )
    db.table("observation_examples").create(
        {
            "id": int,
            "at": float,
            "tenant": str,
            "feature": str,
            "action": str,
            "detail": str,
            "queue_id": str,
            "sender": str,
            "recipient": str,
        },
        pk="id",
    )
    db.table("observation_examples").create_index(["tenant", "feature", "action", "at"])


MIGRATIONS: tuple[Callable[[Database], None], ...] = (
    _observations,
    tls_reports,
    survey,
    deliveries,
    mta_sts,
    messages,
    events,
    suppression,
    tenant_status,
    received,
    webhooks,
    rates,
    quotas,
    quota_refusals,
    api,
    tenant_pauses,
    held,
    lanes,
    quota_fleet,
    webhook_leases,
)


def version_of(db: Database) -> int:
    """Return how many of the steps a database has had."""
    if not db.table("schema_version").exists():
        return 0
    found = db.execute("select max(version) from schema_version").fetchone()[0]
    return int(found or 0)


def migrate(db: Database) -> None:
    """Bring a database up to date; call within a transaction that holds the write lock.

    Raises:
        StoreUnavailable: If the database is of a newer version.
    """
    have = version_of(db)
    if have == len(MIGRATIONS):
        return
    if have > len(MIGRATIONS):
        raise StoreUnavailable(
            f"schema {have} is newer than the {len(MIGRATIONS)} that this version knows; "
            "run the version that wrote it, or newer"
        )
    if have == 0:
        db.table("schema_version").create({"version": int, "applied_at": float}, pk="version")
    for number, step in enumerate(MIGRATIONS[have:], start=have + 1):
        step(db)
        db.table("schema_version").insert({"version": number, "applied_at": time.time()})
