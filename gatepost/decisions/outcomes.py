"""What an attempt in the log is worth telling: delivered, delayed, bounced, blocked.

Purpose: from a delivery and what is known of its message to events, each with an id that reading
the log again, and the notice that Postfix sends of the same failure, give as well.
Format: details have ``status``, ``reply``, ``relay`` and ``service``; of what was sent ``tls`` and
``version``; of a failure or delay ``class``, ``severity`` and ``rule`` of `feedback.classify`. The
severity of a delay says nothing final.
Limits: 500 characters of a reply.
Errors: none.
Security: replies are text from strangers; they are kept and shown, and never acted on but through
`classify`. Whose a message is tells the message book before its sender does: while the mode of
sender is not enforced, one tenant can use the domain of another. What the book does not have is the
domain owner's.
Not handled: what other agents than smtp(8) deliver, addresses that are only probed, and mail that
is given up for its age, of which the notice alone tells. Mail that a content filter hands back has
another queue id. If the filter does not pass the first one on (XFORWARD IDENT), the book does not
know it: without a token return path, its labels are lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gatepost.domains import domain_of
from gatepost.errors import MalformedMessage
from gatepost.feedback import event_ids
from gatepost.feedback.classify import classify
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.reporting import provider_at
from gatepost.feedback.sent import Message
from gatepost.feedback.token import Purpose, looks_like_token, message_id_of, open_token
from gatepost.maillog.model import SENT, Delivery, TlsClass
from gatepost.snapshot import Snapshot

DEFERRED: Final = "deferred"
BOUNCED: Final = "bounced"
MAX_REPLY: Final = 500

# With soft_bounce, Postfix writes the status in capitals and tries again.
_KINDS: Final[Mapping[str, EventKind]] = {
    SENT: EventKind.DELIVERED,
    DEFERRED: EventKind.DEFERRED,
    "SOFTBOUNCE": EventKind.DEFERRED,
    BOUNCED: EventKind.BOUNCED,
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose a delivery is.

    Attributes:
        tenant: Tenant id.
        message: Message id of the token.
        sender: Envelope sender; empty where it is a token.
    """

    tenant: str
    message: bytes
    sender: str


def origin_of(delivery: Delivery, host: str, snapshot: Snapshot) -> Origin | None:
    """Return whose a delivery is by its envelope sender, or None for mail of nobody.

    Args:
        delivery: The delivery.
        host: ``myhostname`` of the Postfix instance.
        snapshot: The configuration.
    """
    sender = delivery.sender
    if not sender or delivery.status not in _KINDS:
        return None
    domain = domain_of(sender)
    if domain is not None and domain == snapshot.platform.bounce_domain:
        return _by_token(sender.rpartition("@")[0], snapshot, delivery.at)
    tenant = snapshot.tenants.owner(domain) if domain is not None else None
    if tenant is None:
        return None
    return Origin(tenant.id, message_id_of(host, delivery.first_id), sender)


def _by_token(local: str, snapshot: Snapshot, at: float) -> Origin | None:
    if not looks_like_token(local):
        return None
    try:
        # The time of the delivery: a token must not have expired then.
        token = open_token(local, Purpose.BOUNCE, snapshot.keyring, at)
    except MalformedMessage:
        return None
    tenant = snapshot.tenants.by_number.get(token.tenant)
    return None if tenant is None else Origin(tenant.id, token.message, "")


def id_of(delivery: Delivery, origin: Origin) -> str:
    """Return the id of a delivery's event."""
    key = origin.message.hex()
    match _KINDS[delivery.status]:
        case EventKind.DELIVERED:
            return event_ids.delivered_id(key, delivery.recipient)
        case EventKind.BOUNCED:
            return event_ids.failure_id(key, delivery.recipient)
        case _ if delivery.tls is TlsClass.REFUSED:
            return event_ids.blocked_id(key, delivery.recipient, delivery.at)
        case _:
            return event_ids.deferred_id(key, delivery.recipient, delivery.at)


def events_of(delivery: Delivery, origin: Origin, message: Message | None) -> list[Event]:
    """Return what there is to tell of a delivery; the first is that with its id.

    Mail that is held up for want of TLS is blocked; mail that is given up for it has bounced as
    well, as it will for the notice.

    Args:
        delivery: The delivery.
        origin: Whose it is.
        message: What the message book has of it, or None.
    """
    kind = _KINDS[delivery.status]
    details = _details(delivery)
    if kind is not EventKind.DELIVERED:
        found = classify(delivery.dsn, delivery.reply)
        details |= {
            "class": found.bounce_class,
            "severity": found.severity.value,
            "rule": found.rule,
        }
    elif delivery.tls is not TlsClass.REFUSED:
        details |= {"tls": delivery.tls.value}
        if delivery.version:
            details["version"] = delivery.version
    kinds = [(kind, id_of(delivery, origin))]
    if delivery.tls is TlsClass.REFUSED:
        key = event_ids.blocked_id(origin.message.hex(), delivery.recipient, delivery.at)
        blocked = (EventKind.BLOCKED, key)
        kinds = [*kinds, blocked] if kind is EventKind.BOUNCED else [blocked]
    return [_event(delivery, origin, message, each, key, details) for each, key in kinds]


def _event(
    delivery: Delivery,
    origin: Origin,
    message: Message | None,
    kind: EventKind,
    key: str,
    details: Mapping[str, str | int | float],
) -> Event:
    return Event(
        key,
        kind,
        delivery.at,
        origin.tenant if message is None else message.tenant,
        origin.message.hex(),
        delivery.first_id,
        origin.sender if message is None else message.sender or origin.sender,
        delivery.recipient,
        "" if message is None else message.campaign,
        "" if message is None else message.mail_type,
        provider_at(delivery.host) if delivery.host else "",
        details=details,
    )


def _details(delivery: Delivery) -> dict[str, str | int | float]:
    details: dict[str, str | int | float] = {"status": delivery.dsn}
    if delivery.reply:
        details["reply"] = delivery.reply[:MAX_REPLY]
    if delivery.host:
        details["relay"] = f"{delivery.host}[{delivery.address}]"
    if delivery.service:
        details["service"] = delivery.service
    return details
