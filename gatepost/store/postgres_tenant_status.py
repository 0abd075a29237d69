"""The status of tenants in PostgreSQL; see `tenant_status` and `postgres_server`.

Purpose: several nodes run the ladder and end pauses. Each change takes the one row of the version
first, and so its turn; then it sees what those before it have done, and does nothing twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from gatepost.feedback.events import Event
from gatepost.store.postgres_events import put_events
from gatepost.store.postgres_server import Connection, PostgresServer
from gatepost.store.tenant_status_changes import TenantStatusChanges

# What the ladder would have done in mode observe is an event of the platform, not of the tenant.
_HISTORY = """
select id, at, details from events where kind = 'tenant.status_changed'
and (tenant = %(tenant)s or tenant = '' and details::jsonb ->> 'tenant' = %(tenant)s)
order by position desc limit %(limit)s
"""
_TAKE_TURN = "select version from tenant_status_version for update"


class PostgresTenantStatus(PostgresServer, TenantStatusChanges):
    """Implements `gatepost.store.tenant_status.TenantStatusStore`."""

    ORDER = 'order by paused_at, campaign collate "C", domain collate "C"'
    HISTORY = _HISTORY

    def _put_events(self, db: Connection, events: Sequence[Event]) -> None:
        put_events(db, events)

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[Connection]:
        with self._writing() as db:
            db.execute(_TAKE_TURN)
            yield db
