"""The status of tenants in SQLite; see `tenant_status` and `sqlite_file`.

Limits: a look at the version, once a second in three processes, takes some 10 µs.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlite_utils import Database

from gatepost.feedback.events import Event
from gatepost.store.sqlite_events import put_events
from gatepost.store.sqlite_file import SqliteFile
from gatepost.store.tenant_status_changes import TenantStatusChanges

# What the ladder would have done in mode observe is an event of the platform, not of the tenant.
_HISTORY = """
select id, at, details from events indexed by idx_events_status
where kind = 'tenant.status_changed'
and (tenant = :tenant or tenant = '' and json_extract(details, '$.tenant') = :tenant)
order by position desc limit :limit
"""


class SqliteTenantStatus(SqliteFile, TenantStatusChanges):
    """Implements `TenantStatusStore`."""

    ORDER = "order by paused_at, campaign, domain"
    HISTORY = _HISTORY

    def _put_events(self, db: Database, events: Sequence[Event]) -> None:
        put_events(db, events)
