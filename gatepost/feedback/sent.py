"""A message that went out with our references: what a token stands for.

Purpose: a token names tenant, message and recipient by numbers; this has their names, and tells
whether we really sent to an address that a report speaks of.
Format: recipients stand in the order of the envelope, so that the recipient index of a token counts
in them from 1.
Limits: the first 1,000 recipients of a message, as many as `decisions.facts` has.
Errors: none.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatepost.feedback.event_ids import recipient_key

MAX_RECIPIENTS = 1000


@dataclass(frozen=True, slots=True)
class Message:
    """One message that was accepted and went out with our references.

    Attributes:
        id: Message id of the token, 8 octets.
        at: Unix time at which it was accepted.
        tenant: Tenant id.
        queue_id: Postfix queue id.
        sender: Envelope sender as the tenant gave it; empty for the null sender, and for a message
            of which only the log tells.
        message_id: ``Message-ID:``, or empty.
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

    def same_recipient(self, address: str) -> str:
        """Return the recipient that an address in a report means, as it was sent to, or empty."""
        wanted = recipient_key(address)
        return next((each for each in self.recipients if recipient_key(each) == wanted), "")
