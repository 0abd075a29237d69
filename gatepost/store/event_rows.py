"""The rows of events and of their counts, which are the same in every database."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from gatepost.feedback.events import Event, EventKind
from gatepost.store.events import (
    MAX_CAMPAIGNS,
    MAX_MAIL_TYPES,
    MAX_TEXT,
    SECONDS_A_DAY,
    SECONDS_AN_HOUR,
    EventCount,
    StoredEvent,
)
from gatepost.store.text import storable

TEXTS = (
    *("tenant", "message", "queue_id", "sender", "recipient"),
    *("campaign", "mail_type", "provider", "reporter"),
)
COLUMNS = f"id, kind, at, {', '.join(TEXTS)}, details"
MAX_OF = {"campaign": MAX_CAMPAIGNS, "mail_type": MAX_MAIL_TYPES}

# `json.dumps` would make one for each event.
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

CountKey = tuple[int, str, str, str, str, str, str, str]
LabelKey = tuple[int, str, str, str]


def count_key(event: Event, counted: Callable[[str, Event], str]) -> CountKey:
    """Return what an event is counted under.

    Args:
        event: The event.
        counted: Returns the name to count a label of an event under.
    """
    return (
        int(event.at // SECONDS_AN_HOUR),
        text_of(event.tenant),
        counted("campaign", event),
        counted("mail_type", event),
        text_of(event.provider),
        event.kind.value,
        detail_of(event, "class"),
        detail_of(event, "severity"),
    )


def label_key(label: str, value: str, event: Event) -> LabelKey:
    """Return what the number of names is bounded by, day, tenant and label, and one of them."""
    return (int(event.at // SECONDS_A_DAY), text_of(event.tenant), label, value)


def detail_of(event: Event, name: str) -> str:
    """Return a detail as it is counted."""
    return text_of(str(event.details.get(name, "")))


def text_of(text: str) -> str:
    """Return a text as it is stored."""
    return storable(text[:MAX_TEXT])


def row_of(event: Event) -> tuple[str | float, ...]:
    """Return the `COLUMNS` of an event."""
    details = {
        text_of(name): text_of(str(value))
        if isinstance(value, str) or not math.isfinite(value)
        else value
        for name, value in event.details.items()
    }
    return (
        event.id,
        event.kind.value,
        event.at,
        text_of(event.tenant),
        text_of(event.message),
        text_of(event.queue_id),
        text_of(event.sender),
        text_of(event.recipient),
        text_of(event.campaign),
        text_of(event.mail_type),
        text_of(event.provider),
        text_of(event.reporter),
        _JSON.encode(details) if details else "",
    )


def stored_of(row: Sequence[Any]) -> StoredEvent:
    """Return the event of a row: its position and its `COLUMNS`."""
    position, key, kind, at, *texts, details = row
    event = Event(
        key,
        EventKind(kind),
        at,
        **dict(zip(TEXTS, texts, strict=True)),
        details=json.loads(details) if details else {},
    )
    return StoredEvent(position, event)


def count_of(row: Sequence[Any]) -> EventCount:
    """Return the count of a row, in the order of `EventCount`."""
    hour, tenant, campaign, mail_type, provider, kind, bounce_class, count, severity = row
    what = EventKind(kind)
    return EventCount(
        hour, tenant, campaign, mail_type, provider, what, bounce_class, count, severity
    )
