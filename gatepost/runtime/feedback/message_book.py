"""Write accepted messages into the message book, off the path of mail.

Purpose: what comes back later is given its names by the book. The milter puts in each message that
leaves with a token of ours; a thread of its own writes it, with the event ``message.accepted``.
Limits: those of `batches`. A milter that is killed loses the messages of its last half second,
and no more: their tokens are genuine, and nobody knows their campaign and recipients.
`message_of_delivery` makes up for it where the log tells of their delivery.
Errors: none; see `batches`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gatepost.decisions.accepted import accepted_event, accepted_message
from gatepost.decisions.actions import Plan
from gatepost.decisions.facts import MessageFacts
from gatepost.errors import MalformedMessage
from gatepost.feedback.events import Event
from gatepost.feedback.sent import Message
from gatepost.feedback.token import Purpose, open_token
from gatepost.runtime.batches import CAPACITY, BatchThread
from gatepost.runtime.feedback.feedback_metrics import watch_book
from gatepost.runtime.feedback.notices import Notices
from gatepost.runtime.metrics import Metrics
from gatepost.snapshot import Snapshot
from gatepost.store.events import EventStore
from gatepost.store.messages import MessageStore
from gatepost.store.open import open_events, open_messages

GATHER_S = 0.05

_log = logging.getLogger("gatepost.book")


class BookStore(Protocol):
    """Where messages and events go."""

    def add(self, things: Sequence[Message | Event], /) -> None:
        """Store all of them or, with `StoreUnavailable`, none for good."""

    def close(self) -> None:
        """Close the connections of the calling thread."""


@dataclass(frozen=True, slots=True)
class Book:
    """Implements `BookStore` with the two stores."""

    messages: MessageStore
    events: EventStore

    def add(self, things: Sequence[Message | Event], /) -> None:
        """Store messages, and their events; either is stored once, however often it comes."""
        messages = [each for each in things if isinstance(each, Message)]
        # The book first: an event may be answered at once by whoever hears of it.
        self.messages.add(messages)
        self.events.add(
            [accepted_event(each) if isinstance(each, Message) else each for each in things]
        )

    def close(self) -> None:
        """Close the connections of the calling thread."""
        self.messages.close()
        self.events.close()


def open_book(url: str) -> Book:
    """Return the book at a URL.

    Raises:
        StoreUnavailable: If it cannot be opened or made.
    """
    return Book(open_messages(url), open_events(url))


class MessageBook(BatchThread[Message | Event]):
    """Takes messages that were accepted, and events of the same process."""

    def __init__(
        self,
        metrics: Metrics,
        open_store: Callable[[], BookStore],
        *,
        capacity: int = CAPACITY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the thread.

        Args:
            metrics: Where to count.
            open_store: Opens the stores, on the thread.
            capacity: Messages that may wait in the queue, and as many again for the store.
            clock: Monotonic time in seconds.
        """
        counts = watch_book(metrics, self.waiting)
        self._notices = Notices()
        super().__init__(
            "book", open_store, counts, _log, capacity=capacity, clock=clock, gather_s=GATHER_S
        )

    def accepted(self, facts: MessageFacts, plan: Plan, snapshot: Snapshot) -> None:
        """Put a message in that passes, if it carries a token of ours.

        Postfix may still refuse it, for another milter or for want of room; a message in the book
        that never went out does no harm, as nobody has its token.
        """
        now = time.time()
        message = accepted_message(facts, plan, snapshot, now)
        if message is not None:
            self.put(message)
        for event in self._notices.events(facts, plan, now):
            self.put(event)


def message_of_delivery(
    sender: str, recipient: str, queue_id: str, at: float, snapshot: Snapshot
) -> Message | None:
    """Return what a delivery in the log tells of a message that the book may lack, or None.

    Adding it to the book changes nothing where the milter has written the message itself.

    Args:
        sender: Envelope sender in the log; a token return path with one recipient is needed.
        recipient: Envelope recipient.
        queue_id: Postfix queue id.
        at: Unix time of the line, at which the token must be good.
        snapshot: The configuration.
    """
    local, _, domain = sender.rpartition("@")
    if not domain or domain.lower() != snapshot.platform.bounce_domain:
        return None
    try:
        token = open_token(local, Purpose.BOUNCE, snapshot.keyring, at)
    except MalformedMessage:
        return None
    tenant = snapshot.tenants.by_number.get(token.tenant)
    # With several recipients, a line tells of one of them and not which number it has.
    if tenant is None or token.recipient != 1:
        return None
    return Message(token.message, at, tenant.id, queue_id, recipients=(recipient,))
