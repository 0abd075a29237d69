"""Ids of events: the same happening has the same id, whoever sees it and how often.

Purpose: a log is read again after a crash, a mail is handed over twice, and Postfix tells of one
failure in its log and in the notice that it sends. Each of these must count once, so ids are made
of what happened and never drawn.
Format: a word for the kind, a hyphen and 32 hexadecimal digits of BLAKE2b, at most 43 characters.
A message is named by its id of the token in hex (16 digits), which `feedback.token.message_id_of`
makes of the host and the queue id, so that the log alone leads to it.
Limits: Postfix uses short queue ids again after some time; a second failure of the same recipient
under the same queue id would then pass for the first. ``enable_long_queue_ids = yes`` ends that.
Errors: none.
"""

from __future__ import annotations

import hashlib
from typing import Final

from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage

HOUR_S: Final = 3600


def event_id(kind: str, *parts: str) -> str:
    """Return the id for a kind of happening that these parts tell from all others of its kind.

    Args:
        kind: A short word of ``[a-z]``.
        parts: Any texts.
    """
    # The length of each part goes in, so that no two lists of parts read alike.
    text = "".join(f"{len(part)}:{part}" for part in (kind, *parts))
    octets = text.encode("utf-8", "backslashreplace")
    return f"{kind}-{hashlib.blake2b(octets, digest_size=16).hexdigest()}"


def recipient_key(address: str) -> str:
    """Return an address in the one form in which ids hold it.

    Lower case throughout: a notice often shows an address in another case than it was written in,
    and two recipients of one message that differ in nothing else are one mailbox in practice.
    """
    local, at, domain = address.strip().rpartition("@")
    try:
        domain = normalise_domain(domain)
    except MalformedMessage:
        domain = domain.lower()
    return f"{local.lower()}{at}{domain}"


def accepted_id(message: str) -> str:
    """Return the id of the acceptance of a message."""
    return event_id("accepted", message)


def delivered_id(message: str, recipient: str) -> str:
    """Return the id of the delivery of a message to a recipient, which happens once."""
    return event_id("delivered", message, recipient_key(recipient))


def failure_id(message: str, recipient: str) -> str:
    """Return the id of the final failure of a message for a recipient.

    The line of the log and the notice that Postfix's bounce(8) sends for it have the same one, and
    so has a notice of another server further on.
    """
    return event_id("bounce", message, recipient_key(recipient), "failed")


def deferred_id(message: str, recipient: str, at: float) -> str:
    """Return the id of a delay: one for each hour of a message and recipient.

    Args:
        message: The message.
        recipient: The recipient.
        at: Unix time in seconds.
    """
    return event_id("deferred", message, recipient_key(recipient), str(int(at // HOUR_S)))


def blocked_id(message: str, recipient: str, at: float) -> str:
    """Return the id of a refusal for want of TLS: one for each hour; arguments as above."""
    return event_id("blocked", message, recipient_key(recipient), str(int(at // HOUR_S)))


def suppressed_id(tenant: str, message: str, recipient: str) -> str:
    """Return the id of a suppressed recipient of a message.

    Args:
        tenant: Tenant id.
        message: The message; at RCPT TO, where there is none yet, what stands for the transaction.
        recipient: The recipient.
    """
    return event_id("suppressed", tenant, message, recipient_key(recipient))


def complaint_id(message: str, recipient: str) -> str:
    """Return the id of a complaint; a recipient complains about a message once.

    Args:
        message: The message.
        recipient: The recipient; empty if the report does not tell.
    """
    return event_id("complaint", message, recipient_key(recipient))


def unsubscribe_id(message: str, recipient: str) -> str:
    """Return the id of an unsubscription, likewise."""
    return event_id("unsubscribe", message, recipient_key(recipient))


def status_id(tenant: str, whose: str, at: float, *part: str) -> str:
    """Return the id of a change of a tenant's status.

    Args:
        tenant: Tenant id.
        whose: ``automatic`` or ``operator``.
        at: Unix time in seconds since when it holds, as the store keeps it.
        part: Campaign and recipient domain, where it is about a part of the tenant's mail.
    """
    return event_id("status", tenant, whose, repr(at), *part)


def queue_change_id(tenant: str, what: str, node: str, at: float) -> str:
    """Return the id of what an operator did to a tenant's queued mail on a node.

    Args:
        tenant: Tenant id.
        what: ``held``, ``released`` or ``purged``.
        node: Name of the host, so that two that act in the same moment both count.
        at: Unix time in seconds.
    """
    return event_id("queue", tenant, what, node, repr(at))


def warning_id(tenant: str, what: str, at: float) -> str:
    """Return the id of a warning: one for each tenant, matter and day.

    Args:
        tenant: Tenant id, or empty for the platform.
        what: What is warned of, in words that stay the same.
        at: Unix time in seconds.
    """
    return event_id("warning", tenant, what, str(int(at // (24 * HOUR_S))))


def shaping_id(lane: str, provider: str, what: str, at: float) -> str:
    """Return the id of a change of the shaping of a lane towards a provider.

    Args:
        lane: The lane.
        provider: The provider.
        what: ``slowed`` or ``lifted``, and by whom.
        at: Unix time in seconds.
    """
    return event_id("shaping", lane, provider, what, repr(at))
