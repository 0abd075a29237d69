"""What the back role does with the stream of events: tell it, write it to a file, keep it short.

Limits: once an hour, what is older than the setting ``feedback.keep_events`` is deleted.
Errors: none; see the parts.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any

from gatepost.runtime.feedback.event_file import EventFile
from gatepost.runtime.feedback.webhook_queue import WebhookQueue
from gatepost.runtime.feedback.webhooks import Webhooks
from gatepost.runtime.hourly import Hourly
from gatepost.runtime.log import log_event
from gatepost.runtime.role import Role
from gatepost.store.events import EventStore
from gatepost.store.open import open_events, open_readers, open_webhooks
from gatepost.store.webhooks import WebhookStore

_log = logging.getLogger("gatepost.store")


class EventOutlets:
    """Runs all of it until `stop`."""

    def __init__(self, role: Role) -> None:
        """Start the threads.

        Args:
            role: The role; its configuration is followed.
        """
        self._url = role.settings.state
        self._role = role
        self._webhooks = Webhooks(role.current(), self._open_queue, role.metrics)
        role.on_reload.append(self._webhooks.reloaded)
        self._file = None
        if role.settings.events_file is not None:
            self._file = EventFile(
                role.settings.events_file,
                lambda: open_events(self._url),
                lambda: open_readers(role.settings.local_state),
                role.metrics,
            )
        self._upkeep = Hourly("events-upkeep", self._tidy, role.metrics)

    def details(self) -> dict[str, Any]:
        """Return what ``gatepost status`` shows."""
        return {
            "webhooks_attention": self._webhooks.attention(),
            "events_file_trouble": self._file.trouble() if self._file else "",
        }

    def stop(self) -> None:
        """End the threads."""
        self._upkeep.stop()
        self._webhooks.stop()
        if self._file is not None:
            self._file.stop()

    def _open_queue(self) -> WebhookQueue:
        stores = open_events(self._url), open_webhooks(self._url)
        return WebhookQueue(*stores, time.time, node=self._role.settings.node)

    def _tidy(self) -> None:
        before = time.time() - self._role.current().feedback.keep_events_s
        with (
            contextlib.closing(open_events(self._url)) as events,
            contextlib.closing(open_webhooks(self._url)) as hooks,
        ):
            deleted, letters = tidy_events(events, hooks, before)
        log_event(_log, logging.INFO, "events-upkeep", deleted=deleted, dead_letters=letters)


def tidy_events(events: EventStore, hooks: WebhookStore, before: float) -> tuple[int, int]:
    """Delete events and dead letters of before a Unix time; return how many of each.

    Raises:
        StoreUnavailable: If the store is.
    """
    return events.prune(before), hooks.prune(before)
