"""What a line of smtp(8) or qmgr(8) says, taken apart from the left.

Purpose: text to a typed event, or None for what tells nothing.
Source: Postfix src/global/log_adhoc.c (the delivery line; ``tls=`` from 3.11 on),
src/tls/tls_misc.c tls_log_summary (the TLS line), src/smtp/smtp_trouble.c (what ended a connection
before its delivery line), src/qmgr/qmgr_active.c; postconf(5) smtp_log_tls_feature_status.
Format: the delivery line is ``<queue id>: to=<address>[, orig_to=<address>],
relay=<host>[<ip>]:<port> [, conn_use=<n>], delay=…, delays=a/b/c/d[, tls=<status>], dsn=<x.y.z>,
status=<word> (<text>)``.
Errors: `parse_event` never raises; a delivery line that cannot be taken apart is `Unreadable`.
Security: recipient, host name and the text in parentheses come from outside. An address is read as
RFC 5321 quotes it, so a local part that holds ``>, relay=`` stays within its quotes; the text
begins behind the first `` (`` after ``status=`` and is never searched for fields. Repetitions are
possessive, so no line takes more than linear time.
Not handled: ``info_log_addr_form = internal``, with which Postfix itself writes addresses that
cannot be told from what follows them.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple, TypeAlias

from gatepost.maillog.model import SENT, TlsClass

_ADDRESS = r"(?:\"(?:[^\"\\]|\\.)*+\"|[^\"<>])*+"
_DELIVERY = re.compile(
    rf"([0-9A-Za-z]{{5,32}}): to=<({_ADDRESS})>(?:, orig_to=<{_ADDRESS}>)?"
    r", relay=(?:([^\s,\[\]]{1,255})\[([^\s\[\]]{2,108})\](?::\d{1,5})?|[^\s,]{1,255})"
    r"(?:, conn_use=(\d{1,9}))?, delay=[\d.]{1,20}"
    r", delays=[\d.]{1,20}/([\d.]{1,20})/(\d{1,9}(?:\.\d{1,9})?)/(\d{1,9}(?:\.\d{1,9})?)"
    r"(?:, tls=([^\s,]{1,200}))?"
    r", dsn=(\d\.\d{1,3}\.\d{1,3}), status=([A-Za-z-]{1,20}) \((.*)",
    re.DOTALL | re.ASCII,
)
_TLS = re.compile(
    r"(Anonymous|Untrusted|Trusted|Verified) TLS connection (?:established|reused) to "
    r"([^\s\[\]]{1,255})\[([^\s\[\]]{2,108})\](?::\d{1,5})?: ([A-Za-z0-9.]{3,12}) with cipher ",
    re.ASCII,
)
_TAKEN_OVER = re.compile(
    r"([0-9A-Za-z]{5,32}): client=[^\s\[\]]{1,255}\[[^\s\[\]]{2,108}\](?::\d{1,5})?"
    r", orig_queue_id=([0-9A-Za-z]{5,32}), ",
    re.ASCII,
)
_QUEUED_AS = re.compile(r"250 2\.0\.0 Ok: queued as ([0-9A-Za-z]{5,32})\Z", re.ASCII)
_ACTIVE = re.compile(rf"([0-9A-Za-z]{{5,32}}): from=<({_ADDRESS})>, size=", re.DOTALL | re.ASCII)
_ABOUT = re.compile(r"([0-9A-Za-z]{5,32}): ", re.ASCII)
_REMOVED = ": removed"

# What stands where a queue id would, in a line about nothing in particular.
_WEIGHTS = frozenset({"warning", "error", "fatal", "panic", "TLSRPT"})
# Postfix's own words, at the start of a line about a connection that has come to its end.
_ENDED = (
    "lost connection with ",
    "conversation with ",
    "host ",
    "connect to ",
    "Cannot start TLS",
    "TLS is required, ",
    "Server certificate ",
    "Protocol error: host ",
)
# ... and of one that goes on.
_GOES_ON = (
    "breaking line ",
    "enabling PIX workarounds",
    "replacing command ",
    "TLSRPT: ",
    "sender non-delivery ",
)
# What Postfix says of a server that does not do the TLS that was asked for. A remote reply stands
# behind "host … said:" and so cannot begin like this.
_NOT_OFFERED = (
    "TLS is required, but was not offered by host ",
    "TLS is required, but host ",
    "Server certificate not verified",
    "Server certificate not trusted",
)
_AUTHENTICATED = frozenset({"verify", "secure", "fingerprint", "dane", "dane-only"})
# Of an MX host that DNSSEC does not vouch for, a TLSA record proves nothing about the domain.
_ENCRYPTED = frozenset({"may", "encrypt", "half-dane", "halfdane"})


class Active(NamedTuple):
    """The queue manager has begun an attempt to deliver a message."""

    queue_id: str
    sender: str


class Removed(NamedTuple):
    """The queue manager has done with a message."""

    queue_id: str


class Renamed(NamedTuple):
    """A message goes on under another queue id, in another instance.

    Attributes:
        queue_id: The new one.
        origin: That by which it came into the host's Postfix first, or the one before.
    """

    queue_id: str
    origin: str


class Tls(NamedTuple):
    """A connection of this process is encrypted now."""

    tls: TlsClass
    host: str
    address: str
    version: str


class Trouble(NamedTuple):
    """Something about the message in hand that is no delivery; `ended` where a connection is."""

    queue_id: str
    ended: bool


class Attempt(NamedTuple):
    """A delivery line.

    Attributes:
        queue_id: Queue id.
        recipient: As logged.
        host: Relay host in lower case, or empty.
        address: IP address of the relay, or empty.
        use: Which use of the connection it is, from 1.
        took_s: Seconds since smtp(8) was given the message.
        request: How long the message waited for smtp(8) and for the connection, as logged: equal
            for all recipients of one request.
        tls: What the ``tls=`` field says, or None where there is none or it says nothing.
        dsn: Enhanced status code.
        status: ``sent`` and the like.
        refused: Whether it failed because the server does not do the TLS that was asked for.
        reply: The text in parentheses.
    """

    queue_id: str
    recipient: str
    host: str
    address: str
    use: int
    took_s: float
    request: str
    tls: TlsClass | None
    dsn: str
    status: str
    refused: bool
    reply: str = ""


class Unreadable(Enum):
    """A delivery line that was cut off or is not as we know it."""

    LINE = "line"


Event: TypeAlias = Active | Removed | Renamed | Tls | Trouble | Attempt | Unreadable


def parse_event(program: str, text: str) -> Event | None:
    """Return what a line says, or None if it tells nothing of deliveries.

    Args:
        program: As in `lines.Entry`.
        text: The line behind its tag.
    """
    if program == "qmgr":
        return _parse_qmgr(text)
    if program != "smtp":
        return _parse_renamed(program, text)
    found = _DELIVERY.match(text)
    if found is not None:
        return _attempt(found)
    session = _TLS.match(text)
    if session is not None:
        trust, host, address, version = session.groups()
        tls = TlsClass.AUTHENTICATED if trust == "Verified" else TlsClass.ENCRYPTED
        return Tls(tls, host.lower(), address, version)
    about = _ABOUT.match(text)
    return None if about is None or about[1] in _WEIGHTS else _about(about)


def _about(found: re.Match[str]) -> Trouble | Unreadable | None:
    rest = found.string[found.end() :]
    if rest.startswith("to=<"):
        return Unreadable.LINE
    if rest.startswith(_GOES_ON):
        return None
    return Trouble(found[1], rest.startswith(_ENDED))


def _parse_renamed(program: str, text: str) -> Renamed | None:
    if program == "smtpd":
        taken = _TAKEN_OVER.match(text)
        return Renamed(taken[1], taken[2]) if taken is not None else None
    handed = _DELIVERY.match(text)
    if handed is None or handed[11] != SENT:
        return None
    queued = _QUEUED_AS.match(handed[12].removesuffix(")"))
    return Renamed(queued[1], handed[1]) if queued is not None else None


def _parse_qmgr(text: str) -> Active | Removed | None:
    found = _ACTIVE.match(text)
    if found is not None:
        return Active(found[1], found[2])
    if text.endswith(_REMOVED) and (about := _ABOUT.match(text)):
        queue_id = about[1]
        return Removed(queue_id) if len(text) == len(queue_id) + len(_REMOVED) else None
    return None


def _attempt(found: re.Match[str]) -> Attempt:
    queue_id, recipient, host, address, use, wait, setup, transfer, field, dsn, status, reason = (
        found.groups()
    )
    refused = status != SENT and (
        reason.startswith(_NOT_OFFERED) or (field is not None and field.startswith("!"))
    )
    return Attempt(
        queue_id,
        recipient,
        host.lower() if host else "",
        address or "",
        int(use) if use else 1,
        float(setup) + float(transfer),
        f"{wait}/{setup}",
        parse_tls_field(field) if field else None,
        dsn,
        status,
        refused,
        reason.removesuffix(")"),
    )


def parse_tls_field(field: str) -> TlsClass | None:
    """Return what the ``tls=`` field of Postfix 3.11 proves of a message that was sent.

    The first feature is the TLS level: what was asked for, then behind a colon what came of it if
    that is less; ``!`` in front is a requirement that was not met. Parentheses are around what was
    not enforced. ``?`` at the end is one that nobody decided on: 3.11.7 says so of every message
    that goes over a reused connection, encrypted or not. That is None, as if there were no field.
    """
    level = field.partition("/")[0].strip("()")
    if level.endswith("?"):
        return None
    if level.startswith("!"):
        return TlsClass.UNKNOWN
    achieved = level.rpartition(":")[2]
    if achieved in _AUTHENTICATED:
        return TlsClass.AUTHENTICATED
    if achieved in _ENCRYPTED:
        return TlsClass.ENCRYPTED
    return TlsClass.PLAINTEXT if achieved == "none" else TlsClass.UNKNOWN
