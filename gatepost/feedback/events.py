"""What happened to mail, as one durable stream: what webhooks, files and rates are made of.

Purpose: one form for everything that a tenant or the platform may want to hear of.
Format: `as_data` gives the object that webhooks, ``events tail`` and the file of JSON lines carry.
Fields that are empty are left out; further ones may come, and readers must ignore those they do not
know.
Errors: none.
Security: an event of a tenant is shown to that tenant. It holds what the tenant knows itself and
what became of its mail, and nothing of who reported it (`reporter` is the domain alone).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class EventKind(StrEnum):
    """What happened; the value is the ``type`` that consumers see."""

    ACCEPTED = "message.accepted"
    DEFERRED = "message.deferred"
    DELIVERED = "message.delivered"
    BOUNCED = "message.bounced"
    # Refused or held back because the TLS that the tenant requires cannot be had.
    BLOCKED = "message.blocked"
    SUPPRESSED = "message.suppressed"
    COMPLAINED = "message.complained"
    UNSUBSCRIBED = "message.unsubscribed"
    STATUS_CHANGED = "tenant.status_changed"
    # An operator put queued mail of a tenant on hold, let it go, or deleted it.
    QUEUE_HELD = "tenant.queue_held"
    QUEUE_RELEASED = "tenant.queue_released"
    QUEUE_PURGED = "tenant.queue_purged"
    # An operator put addresses on a suppression list, or took them off.
    SUPPRESSION_CHANGED = "suppression.changed"
    # A tenant's mail was moved to another lane for its amount, or has come back.
    LANE_CHANGED = "tenant.lane_changed"
    # A lane was slowed down towards a provider, or an operator has lifted that.
    SHAPING_CHANGED = "lane.shaping_changed"
    # Something that the tenant or the operator should look at.
    WARNING = "tenant.warning"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        id: Unique and stable: the same happening has the same id, however often it is seen. A
            store keeps one event of each id. At most 64 of ``[A-Za-z0-9._-]``.
        kind: What happened.
        at: Unix time in seconds.
        tenant: Tenant id, or empty for the platform's own.
        message: Message id of the token in lower-case hex (16 digits), or empty.
        queue_id: Postfix queue id, or empty.
        sender: Envelope sender as the tenant gave it, or empty.
        recipient: Envelope recipient, or empty.
        campaign: The tenant's campaign label, or empty.
        mail_type: The tenant's mail type label, or empty.
        provider: Who runs the recipient's mail, as `maillog.provider` names it, or empty.
        reporter: Domain that reported it, or empty.
        details: Further texts and numbers, by kind: ``status``, ``class``, ``rule``, ``reply``,
            ``tls``, ``reason``, ``from``, ``to`` …
    """

    id: str
    kind: EventKind
    at: float
    tenant: str
    message: str = ""
    queue_id: str = ""
    sender: str = ""
    recipient: str = ""
    campaign: str = ""
    mail_type: str = ""
    provider: str = ""
    reporter: str = ""
    details: Mapping[str, str | int | float] = field(default_factory=dict)


_PLAIN = (
    *("tenant", "message", "queue_id", "sender", "recipient"),
    *("campaign", "mail_type", "provider", "reporter"),
)


def as_data(event: Event) -> dict[str, object]:
    """Return an event as consumers see it: ``id``, ``type``, ``timestamp`` and ``data``."""
    data: dict[str, object] = {
        name: value for name in _PLAIN if (value := getattr(event, name)) != ""
    }
    if event.details:
        data["details"] = dict(event.details)
    moment = dt.datetime.fromtimestamp(event.at, dt.UTC)
    return {
        "id": event.id,
        "type": event.kind.value,
        "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": data,
    }
