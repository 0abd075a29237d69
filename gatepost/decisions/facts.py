"""What Postfix told us about a client, a recipient or a message: the input of every decision.

Purpose: adapters (the policy server, the milter, ``gatepost explain``) fill these in and decide
nothing; decisions read them and do no I/O.
Source: Postfix SMTPD_POLICY_README (attributes), MILTER_README (macros).
Errors: none.
Security: every text in here comes from outside. Header values may hold surrogate escapes.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatepost.tenants.client import Client


@dataclass(frozen=True, slots=True)
class RecipientFacts:
    """One RCPT TO, as the policy service sees it.

    Attributes:
        client: Who is connected.
        sender: Envelope sender, empty for the null sender.
        recipient: Envelope recipient.
        queue_id: Queue id; empty before the first accepted recipient.
    """

    client: Client
    sender: str
    recipient: str
    queue_id: str = ""


# Ends a value of which only the beginning was kept. libmilter's texts cannot hold it, so such a
# value is never equal to anything that would have been there whole.
CUT = "\0"


@dataclass(frozen=True, slots=True)
class Header:
    """One header field as the milter got it.

    Attributes:
        name: Field name as written.
        value: Unfolded or folded value; libmilter removes one leading space. It ends in `CUT` where
            it was too long to be kept whole.
    """

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """One message at its end, as the milter sees it.

    Attributes:
        client: Who sent it; `Client.certificate` is empty, see `feedback.session`.
        host: ``myhostname`` of the Postfix instance (macro ``j``).
        queue_id: Queue id (macro ``i``).
        sender: Envelope sender, empty for the null sender.
        recipients: Accepted envelope recipients, in order; at most the first 1,000.
        headers: Those header fields that decisions ask for, see `message.wanted_headers`, in
            the order of the message, duplicates included.
        overfull: Whether there were more of them than the adapter keeps; `headers` then lacks
            some.
    """

    client: Client
    host: str
    queue_id: str
    sender: str
    recipients: tuple[str, ...]
    headers: tuple[Header, ...]
    overfull: bool = False
