"""The state of webhooks in PostgreSQL; see `webhooks` and `postgres_server`.

Limits: a lease ends by the server's clock, so that those of the nodes do not matter.
"""

from __future__ import annotations

from gatepost.store.engine import Queryable
from gatepost.store.postgres_server import PostgresServer
from gatepost.store.webhook_changes import WebhookChanges

_CLAIM = """
update webhooks set holder = %(holder)s,
    held_until = clock_timestamp() + make_interval(secs => %(seconds)s)
where name = %(name)s and (holder = %(holder)s or held_until <= clock_timestamp())
"""
_RELEASE = "update webhooks set holder = '', held_until = '-infinity' where holder = %s"


class PostgresWebhooks(PostgresServer, WebhookChanges):
    """Implements `gatepost.store.webhooks.WebhookStore`."""

    SPAN = "first, last"

    def claim(self, name: str, holder: str, seconds: float) -> bool:
        """See `WebhookStore.claim`."""
        return self._change(_CLAIM, {"name": name, "holder": holder, "seconds": seconds}) == 1

    def release(self, holder: str) -> None:
        """See `WebhookStore.release`."""
        self._change(_RELEASE, [holder])

    def _hold(self, db: Queryable, name: str) -> None:
        db.execute("select 1 from webhooks where name = %s for update", [name])
