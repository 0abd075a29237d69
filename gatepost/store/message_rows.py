"""The rows of the message book, which are the same in every database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gatepost.store.messages import MAX_RECIPIENTS, Message
from gatepost.store.text import storable

COLUMNS = "id, at, tenant, queue_id, sender, message_id, campaign, mail_type, recipients"


def message_row(message: Message) -> tuple[bytes | float | str, ...]:
    """Return the `COLUMNS` of a message."""
    texts = (
        *(message.tenant, message.queue_id, message.sender),
        *(message.message_id, message.campaign, message.mail_type),
        # No address holds a line end: SMTP ends its commands with one.
        "\n".join(each.replace("\n", " ") for each in message.recipients[:MAX_RECIPIENTS]),
    )
    return (message.id, message.at, *map(storable, texts))


def message_of(row: Sequence[Any]) -> Message:
    """Return the message of a row, its `COLUMNS`."""
    recipients = tuple(row[-1].split("\n")) if row[-1] else ()
    return replace(Message(*row[:-1]), recipients=recipients)
