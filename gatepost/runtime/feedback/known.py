"""What commands and the API know of what came back: status of tenants, suppression lists.

Errors: where it does not say so none; what keeps something from being known is a sentence.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from gatepost.errors import StoreUnavailable
from gatepost.feedback.event_ids import event_id
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.status import NO_STATUSES, Statuses
from gatepost.feedback.suppression import Suppressed
from gatepost.feedback.suppression_table import format_time
from gatepost.settings import Loaded, Settings
from gatepost.store.open import is_missing, open_events, open_statuses, open_suppression


def known_statuses(settings: Settings) -> tuple[Statuses, list[str]]:
    """Return the status of all tenants, and what keeps it from being known, if anything does."""
    try:
        if is_missing(settings.state):
            return NO_STATUSES, []
        with closing(open_statuses(settings.state, create=False)) as store:
            return store.all(), []
    except (StoreUnavailable, PermissionError) as error:
        return NO_STATUSES, [f"whether the tenant is paused is not known: {error}"]


def lookup_for(
    recipient: str, loaded: Loaded, problems: list[str]
) -> Callable[[str], Suppressed | None]:
    """Return what finds a recipient on the list of a tenant.

    Args:
        recipient: Envelope recipient.
        loaded: The configuration.
        problems: Takes what keeps the list from being read.
    """

    def find(tenant: str) -> Suppressed | None:
        try:
            if is_missing(loaded.settings.state):
                return None
            where, local = loaded.settings.state, loaded.settings.local_state
            with closing(open_suppression(where, create=False, local=local)) as store:
                return store.find(tenant, recipient, time.time(), loaded.snapshot.suppression)
        except (StoreUnavailable, PermissionError) as error:
            problems.append(f"whether the recipient is suppressed is not known: {error}")
            return None

    return find


def entry_document(entry: Suppressed) -> dict[str, Any]:
    """Return an entry of a suppression list as JSON."""
    return {
        "tenant": entry.tenant,
        "address": entry.address or None,
        "reason": entry.reason.value,
        "since": format_time(entry.at),
        "expires": None if entry.expires is None else format_time(entry.expires),
        "source": entry.source,
        "note": entry.note,
    }


def record_list_change(
    loaded: Loaded,
    tenant: str,
    action: str,
    details: Mapping[str, str | int],
    by: str,
    address: str = "",
) -> None:
    """Store the event of a change of a suppression list by a person or a program.

    Args:
        loaded: The configuration.
        tenant: Whose list.
        action: ``add``, ``remove`` or ``import``.
        details: What else there is to say.
        by: Who made it.
        address: The address, if it was one.

    Raises:
        StoreUnavailable: If it cannot be stored; the change stays made.
    """
    now = time.time()
    hashed = loaded.snapshot.suppression.hashed
    event = Event(
        event_id("list", tenant, action, address, repr(now), str(os.getpid())),
        EventKind.SUPPRESSION_CHANGED,
        now,
        tenant,
        recipient="" if hashed else address,
        details={"action": action, "list": tenant or "global", "by": by, **details},
    )
    with closing(open_events(loaded.settings.state)) as store:
        store.add([event])
