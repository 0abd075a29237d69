"""From deliveries in the log to events and suppression; part of the observer.

Purpose: what the log tells of tenants' mail becomes events, with campaign and mail type out of the
message book; a final failure of a dead address suppresses it, and a delivery lifts that again.
Format: per chunk of the log, before its position is stored: the book, then events, then
suppression. Every event has an id that follows from what happened, and a suppression entry is
merged with the one that is there; so a chunk that is read again after a kill changes nothing.
Limits: one event for each delay, an hour, recipient and message: the last 100,000 are remembered,
so that a storm of retries costs no look at the store. The book is written up to half a second after
a message was accepted, so a chunk with younger messages than that waits 1 s for it, once.
Errors: `StoreUnavailable`, whereupon the observer reads the chunk again.
Not handled: old logs that ``gatepost log ingest`` reads; they are evidence of TLS and make no
events.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gatepost.decisions.outcomes import Origin, events_of, id_of, origin_of
from gatepost.feedback import event_ids
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.report import Severity
from gatepost.feedback.sent import Message
from gatepost.feedback.suppression import Reason, Suppressed, expiry_of
from gatepost.maillog.model import SENT, Delivery
from gatepost.modes import Mode
from gatepost.runtime.deliveries import is_loopback
from gatepost.runtime.feedback.message_book import message_of_delivery
from gatepost.snapshot import Snapshot
from gatepost.store.events import EventStore
from gatepost.store.messages import MessageStore
from gatepost.store.open import open_events, open_messages, open_suppression
from gatepost.store.suppression import Delivered, SuppressionStore

MAX_REMEMBERED = 100_000
YOUNG_S = 5.0
WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class OutcomeStores:
    """Where outcomes are kept."""

    messages: MessageStore
    events: EventStore
    suppression: SuppressionStore

    def close(self) -> None:
        """Close the connections of the calling thread."""
        for each in (self.messages, self.events, self.suppression):
            with contextlib.suppress(Exception):
                each.close()


def open_outcome_stores(url: str, local: str = "") -> OutcomeStores:
    """Return the stores at a URL; ``local`` as of `open_suppression`.

    Raises:
        StoreUnavailable: If they cannot be opened or made.
    """
    return OutcomeStores(open_messages(url), open_events(url), open_suppression(url, local=local))


class DeliveryEvents:
    """Takes what was read of the log, chunk by chunk, on the observer's thread."""

    def __init__(
        self,
        stores: OutcomeStores,
        stop: threading.Event,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin.

        Args:
            stores: The stores; closed by `close`.
            stop: Ends a wait for the message book.
            clock: Unix time in seconds.
        """
        self._stores = stores
        self._stop = stop
        self._clock = clock
        self._delays: dict[str, None] = {}

    def close(self) -> None:
        """Close the stores."""
        self._stores.close()

    def take(self, found: Iterable[Delivery], host: str, snapshot: Snapshot) -> None:
        """Store what a chunk tells.

        Args:
            found: Its deliveries.
            host: ``myhostname`` of the Postfix instance.
            snapshot: The configuration in force.

        Raises:
            StoreUnavailable: If a store is; the chunk has to be taken again.
        """
        whose = [(each, origin_of(each, host, snapshot)) for each in found]
        known = [
            (delivery, origin)
            for delivery, origin in whose
            if origin is not None and not is_loopback(delivery.address)
        ]
        delays = self._new_delays(known)
        known = [pair for pair in known if _is_final(pair[0]) or id_of(*pair) in delays]
        if not known:
            return
        messages = self._messages(known, snapshot)
        told = [
            (delivery, events_of(delivery, origin, messages.get(origin.message)))
            for delivery, origin in known
        ]
        self._stores.events.add([event for _, events in told for event in events])
        self._suppress(told, snapshot)
        self._remember(delays)

    def _new_delays(self, known: Sequence[tuple[Delivery, Origin]]) -> set[str]:
        ids = {id_of(*pair) for pair in known if not _is_final(pair[0])}
        return ids.difference(self._delays)

    def _remember(self, delays: Iterable[str]) -> None:
        self._delays.update(dict.fromkeys(delays))
        while len(self._delays) > MAX_REMEMBERED:
            del self._delays[next(iter(self._delays))]

    def _messages(
        self, known: Sequence[tuple[Delivery, Origin]], snapshot: Snapshot
    ) -> dict[bytes, Message]:
        """Return what the book has, and put into it what only the log tells."""
        book = self._stores.messages
        by_id = snapshot.tenants.by_id
        ids = {origin.message for _, origin in known}
        messages = book.find_all(ids)
        missing = [
            (delivery, origin)
            for delivery, origin in known
            if origin.message not in messages
            and by_id[origin.tenant].modes.feedback is Mode.ENFORCE
        ]
        now = self._clock()
        # A log of the future, of a clock that was wrong, would be waited for chunk by chunk.
        if any(abs(now - delivery.at) < YOUNG_S for delivery, _ in missing):
            self._stop.wait(WAIT_S)
            messages |= book.find_all({origin.message for _, origin in missing})
        lost = []
        for delivery, origin in missing:
            if origin.message not in messages:
                found = message_of_delivery(
                    delivery.sender or "",
                    delivery.recipient,
                    delivery.first_id,
                    delivery.at,
                    snapshot,
                )
                lost += [found] if found is not None else []
        if lost:
            book.add(lost)
        return messages

    def _suppress(
        self, told: Sequence[tuple[Delivery, Sequence[Event]]], snapshot: Snapshot
    ) -> None:
        store, rules = self._stores.suppression, snapshot.suppression
        by_id = snapshot.tenants.by_id
        delivered, entries = [], []
        for _, (event, *_) in told:
            # The book may name one that has been taken out of the configuration.
            tenant = by_id.get(event.tenant)
            if tenant is None or tenant.modes.suppression is Mode.OFF:
                continue
            severity = event.details.get("severity")
            if event.kind is EventKind.DELIVERED:
                failure = event_ids.failure_id(event.message, event.recipient)
                delivered.append(Delivered(event.tenant, event.recipient, event.at, failure))
            elif event.kind is EventKind.BOUNCED and severity == Severity.HARD.value:
                expires = expiry_of(Reason.HARD_BOUNCE, event.at, rules)
                entries.append(
                    Suppressed(
                        event.tenant,
                        event.recipient,
                        Reason.HARD_BOUNCE,
                        event.at,
                        expires,
                        event.id,
                    )
                )
            elif event.kind is EventKind.BOUNCED and severity == Severity.SOFT.value:
                store.soft_bounce(event.tenant, event.recipient, event.at, event.id, rules)
        if entries:
            store.add(entries, rules)
        # Behind what it lifts, since an address may bounce and work again within one chunk.
        if delivered:
            store.delivered(delivered, rules)


def _is_final(delivery: Delivery) -> bool:
    return delivery.status in {SENT, "bounced"}
