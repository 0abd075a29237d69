"""What one SMTP connection has told us so far: callbacks in, `MessageFacts` out.

Purpose: libmilter calls once per command and header; this collects what decisions ask for and
forgets the rest, so that a message costs memory by its wanted headers and not by its size.
Source: Postfix MILTER_README; libmilter xxfi_envfrom ("reset per-message state here").
Limits: 1,000 recipients, 200 wanted header fields and 16 KiB of each are kept. A field beyond the
200th is hostile: the facts then say `overfull`, and the decision refuses the message where it would
have to edit it.
Errors: none.
Security: everything in here is hostile text; octets that are not UTF-8 become surrogate escapes.
"""

from __future__ import annotations

from gatepost.decisions.facts import CUT, Header, MessageFacts
from gatepost.tenants.client import Client

MAX_RECIPIENTS = 1000
MAX_HEADERS = 200
MAX_VALUE_OCTETS = 16384


class MessageInProgress:
    """One message between MAIL FROM and its end.

    Args:
        client: Who is connected.
        host: ``myhostname`` of the Postfix instance.
        sender: Envelope sender as libmilter gives it, with angle brackets.
        wanted: Lower-case names of the header fields to keep.
    """

    __slots__ = ("_client", "_headers", "_host", "_overfull", "_recipients", "_wanted", "sender")

    def __init__(self, client: Client, host: str, sender: str, wanted: frozenset[str]) -> None:
        self._client = client
        self._host = host
        self._wanted = wanted
        self._headers: list[Header] = []
        self._recipients: list[str] = []
        self.sender = strip_brackets(sender)
        self._overfull = False

    def add_recipient(self, recipient: bytes) -> None:
        """Take one accepted recipient."""
        if len(self._recipients) < MAX_RECIPIENTS:
            self._recipients.append(strip_brackets(_text(recipient)))

    def add_header(self, name: str, value: bytes) -> None:
        """Take one header field, if anybody wants it."""
        if name.lower() not in self._wanted:
            return
        if len(self._headers) >= MAX_HEADERS:
            self._overfull = True
            return
        text = _text(value[:MAX_VALUE_OCTETS])
        self._headers.append(Header(name, text if len(value) <= MAX_VALUE_OCTETS else text + CUT))

    def facts(self, queue_id: str) -> MessageFacts:
        """Return the facts at end of message."""
        return MessageFacts(
            client=self._client,
            host=self._host,
            queue_id=queue_id,
            sender=self.sender,
            recipients=tuple(self._recipients),
            headers=tuple(self._headers),
            overfull=self._overfull,
        )


def plain_address(macro: str) -> str:
    """Return the IP address in the macro ``{client_addr}``.

    Postfix writes an IPv6 address with ``IPv6:`` before it, as in an address literal of RFC 5321
    §4.1.3 (rfc_addr in smtpd_milter.c); the policy service, the same address without.
    """
    return macro[5:] if macro[:5].lower() == "ipv6:" else macro


def strip_brackets(address: str) -> str:
    """Return an address of MAIL FROM or RCPT TO without its angle brackets."""
    return address[1:-1] if address.startswith("<") and address.endswith(">") else address


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")
