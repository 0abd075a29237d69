"""The rows of webhooks and dead letters, which are the same in every database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatepost.store.text import storable
from gatepost.store.webhooks import MAX_ERROR, DeadLetter, Span, WebhookState

STATE = "name, position, batch_end, tries, first_at, next_at, success_at, error_at, error, gone"


def cut(text: str) -> str:
    """Return a text of a stranger as it is kept."""
    return storable(text[:MAX_ERROR])


def state_of(row: Sequence[Any]) -> WebhookState:
    """Return the state of a row, its `STATE`."""
    name, position, batch_end, tries, first_at, next_at, success_at, error_at, error, gone = row
    return WebhookState(
        *(name, position, batch_end, tries, first_at),
        *(next_at, success_at, error_at, error, bool(gone)),
    )


def letter_of(row: Sequence[Any]) -> DeadLetter:
    """Return the dead letter of a row, in the order of its columns."""
    number, webhook, begin, end, events, at, tries, error, requeued = row
    return DeadLetter(number, webhook, Span(begin, end), events, at, tries, error, bool(requeued))
