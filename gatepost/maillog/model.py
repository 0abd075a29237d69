"""Deliveries as Postfix's log tells them: the words that parser, store and reports share.

Purpose: one `Delivery` is one attempt to deliver one message to one recipient through smtp(8), with
what the log proves of its protection.
Source: Postfix smtp(8), TLS_README "Client TLS activity logging"; postconf(5)
smtp_log_tls_feature_status (3.11).
Errors: none.
Security: a delivery is never called encrypted on less than the words of smtp(8) itself for that
very connection. Recipient, sender and relay are hostile text: kept and shown, never interpreted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SENT = "sent"


class TlsClass(StrEnum):
    """What is proved of a delivery; the value is the word used in reports and in the store."""

    AUTHENTICATED = "authenticated"
    ENCRYPTED = "encrypted"
    PLAINTEXT = "plaintext"
    UNKNOWN = "unknown"
    # Not delivered, because the other side does not do the TLS that was asked for.
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One recipient's outcome.

    Attributes:
        at: Unix time in seconds of the log line.
        started_at: Unix time at which smtp(8) was given the message, at the latest.
        queue_id: Postfix queue id.
        sender: Envelope sender as the queue manager logged it, empty for the null sender, or None
            if that line was not seen.
        recipient: Envelope recipient as logged.
        service: Last part of the service's syslog_name, such as ``gp-bulk-private``; empty for
            Postfix's own smtp service.
        host: Relay host in lower case, or empty if there was none.
        address: IP address of the relay, or empty.
        status: ``sent``, ``deferred``, ``bounced`` and the like.
        dsn: Enhanced status code, such as ``2.0.0``.
        tls: What is proved.
        version: Protocol version, such as ``TLSv1.3``; empty where the log does not tell.
        opens: Whether it is the first of its SMTP session, for counts of sessions.
        count: How often the line stands for: syslog writes one for several equal ones.
        reply: What the line says in parentheses: the server's reply, or what went wrong.
        origin_id: The queue id by which the message came in, if it has another by now; else empty.
    """

    at: float
    started_at: float
    queue_id: str
    sender: str | None
    recipient: str
    service: str
    host: str
    address: str
    status: str
    dsn: str
    tls: TlsClass
    version: str = ""
    opens: bool = True
    count: int = 1
    reply: str = ""
    origin_id: str = ""

    @property
    def first_id(self) -> str:
        """Return the queue id by which the message came in, and is known elsewhere."""
        return self.origin_id or self.queue_id
