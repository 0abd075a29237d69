"""The state of webhooks in SQLite; see `webhooks` for what is kept, `sqlite_file` for the rest."""

from __future__ import annotations

import time

from gatepost.store.sqlite_file import SqliteFile
from gatepost.store.webhook_changes import WebhookChanges

_CLAIM = """
update webhooks set holder = :holder, held_until = :until
where name = :name and (holder = :holder or held_until <= :now)
"""


class SqliteWebhooks(SqliteFile, WebhookChanges):
    """Implements `WebhookStore`."""

    SPAN = "begin, end"

    def claim(self, name: str, holder: str, seconds: float) -> bool:
        """See `WebhookStore.claim`."""
        now = time.time()
        values = {"name": name, "holder": holder, "now": now, "until": now + seconds}
        return self._change(_CLAIM, values) == 1

    def release(self, holder: str) -> None:
        """See `WebhookStore.release`."""
        self._change("update webhooks set holder = '', held_until = 0 where holder = ?", [holder])
