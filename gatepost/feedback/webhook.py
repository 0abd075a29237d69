"""What a webhook sends, how it is signed, and when it is tried again.

Purpose: everything about webhooks that can be decided without a network.
Source: Standard Webhooks specification 1.0 (standardwebhooks.com): headers, signature, status
codes; RFC 9110 §10.2.3 (Retry-After).
Format: the body is one JSON object, ``{"type": "batch", "timestamp": …, "data": {"events": […]}}``,
in UTF-8, with each event as `gatepost.feedback.events.as_data` gives it, and with the time of the
latest of them. The id, in the header ``webhook-id``, is ``batch_`` and 32 hexadecimal digits over
the name of the webhook and the ids of the events: the same batch has the same id and the same body
whenever it is sent.
Limits: 100 events a batch; a batch is tried for 3 days, at intervals that double from 5 s to 1 h,
each longer or shorter by up to a fifth, and by up to 1 h if the consumer asks for more time.
Errors: none.
Security: what is signed is the id, the time of sending and the body, so a consumer that looks at
the time and remembers ids cannot be made to take anything twice.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from standardwebhooks import Webhook as Signer

from gatepost.feedback.events import Event, EventKind, as_data
from gatepost.feedback.rules import Webhook

MAX_EVENTS = 100
FIRST_S = 5.0
LONGEST_S = 3600.0
GIVE_UP_S = 3 * 86_400.0
JITTER = 0.2

_GONE = 410


@dataclass(frozen=True, slots=True)
class Batch:
    """What is sent at once.

    Attributes:
        id: The same whenever this is sent.
        body: The octets that are sent.
    """

    id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What a consumer made of a batch.

    Attributes:
        error: What went wrong, or empty if it took the batch.
        status: HTTP status, or None if there was none.
        retry_after_s: Seconds that it asks to be left alone, or None.
        body: The beginning of what it said.
    """

    error: str
    status: int | None = None
    retry_after_s: float | None = None
    body: str = ""

    @property
    def gone(self) -> bool:
        """Whether it wants nothing more."""
        return self.status == _GONE


def batch_of(webhook: str, events: Sequence[Event]) -> Batch:
    """Return events as one batch for a webhook.

    Args:
        webhook: Its name.
        events: At least one.
    """
    digest = hashlib.sha256("\0".join((webhook, *(event.id for event in events))).encode())
    body = {
        "type": "batch",
        "timestamp": as_data(max(events, key=lambda event: event.at))["timestamp"],
        "data": {"events": [as_data(event) for event in events]},
    }
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Batch(f"batch_{digest.hexdigest()[:32]}", text.encode("utf-8", "backslashreplace"))


def example(webhook: Webhook, now: float) -> Batch:
    """Return a batch to try a webhook with, which says that it is one.

    Args:
        webhook: The webhook.
        now: Unix time in seconds.
    """
    details = {
        "reason": "test",
        "text": "A test that the operator has asked for; nothing has happened.",
    }
    event = Event(f"test-{now:.6f}", EventKind.WARNING, now, webhook.tenant or "", details=details)
    return batch_of(webhook.name, [event])


def headers_of(secret: bytes, batch: Batch, now: float) -> dict[str, str]:
    """Return the headers of one try to send a batch.

    Args:
        secret: Key of the signature.
        batch: The batch.
        now: Unix time in seconds.
    """
    moment = dt.datetime.fromtimestamp(int(now), dt.UTC)
    return {
        "Content-Type": "application/json",
        "webhook-id": batch.id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": Signer(secret).sign(batch.id, moment, batch.body.decode()),
    }


def retry_after(value: str, now: float) -> float | None:
    """Return the seconds that a Retry-After field asks for, or None if it cannot be read.

    Args:
        value: The field: seconds, or a date.
        now: Unix time in seconds.
    """
    text = value.strip()[:64]
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def wait_after(failures: int, retry_after_s: float | None, chance: float) -> float:
    """Return how long to wait until the next try, in seconds.

    Args:
        failures: How often it has failed since the last success, at least 1.
        retry_after_s: What the consumer asks for, or None.
        chance: A random number from 0 to 1, so that not all come back at the same moment.
    """
    doubled = FIRST_S * 2.0 ** min(failures - 1, 32)
    jittered = min(doubled, LONGEST_S) * (1 + JITTER * (2 * chance - 1))
    return min(max(jittered, retry_after_s or 0.0), LONGEST_S * (1 + JITTER))
