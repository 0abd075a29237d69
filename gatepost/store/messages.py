"""The message book: what a token stands for.

Purpose: a token names tenant, message and recipient by numbers; the book gives them back their
names, and tells whether we really sent to an address that a report speaks of.
Format: rows are found by the message id of the token (8 octets). Recipients stand in the order of
the envelope, so that the recipient index of a token counts in them from 1.
Limits: the first 1,000 recipients of a message, as many as `decisions.facts` has. Rows go after
``feedback.keep_messages``, 60 days unless set otherwise, the age at which tokens expire.
Errors: every method raises `StoreUnavailable` and nothing else.
Security: the book holds envelope addresses, also where ``feedback.privacy`` is ``hashed``: without
them no event could name a recipient. The file is for the service's user and group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_RECIPIENTS = 1000


@dataclass(frozen=True, slots=True)
class Message:
    """One message that was accepted and went out with our references.

    Attributes:
        id: Message id of the token, 8 octets.
        at: Unix time at which it was accepted.
        tenant: Tenant id.
        queue_id: Postfix queue id.
        sender: Envelope sender as the tenant gave it.
        message_id: ``Message-ID:`` as it left, or empty.
        campaign: The tenant's campaign label, or empty.
        mail_type: The tenant's mail type label, or empty.
        recipients: Envelope recipients in order, at most `MAX_RECIPIENTS`.
    """

    id: bytes
    at: float
    tenant: str
    queue_id: str
    sender: str = ""
    message_id: str = ""
    campaign: str = ""
    mail_type: str = ""
    recipients: tuple[str, ...] = ()

    def recipient(self, index: int) -> str:
        """Return the recipient that an index of a token names, or empty where it names none."""
        return self.recipients[index - 1] if 0 < index <= len(self.recipients) else ""


class MessageStore(Protocol):
    """Keeps messages by the id that their tokens carry."""

    def add(self, messages: Sequence[Message]) -> None:
        """Store messages, all or none; one that is there already stays as it is."""

    def find(self, message_id: bytes) -> Message | None:
        """Return the message of an id (8 octets), or None."""

    def prune(self, before: float) -> int:
        """Delete messages that were accepted before a Unix time; return how many."""

    def close(self) -> None:
        """Close the connection of the calling thread."""
