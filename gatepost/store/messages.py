"""The message book: what a token stands for.

Format: rows are found by the message id of the token (8 octets); see `gatepost.feedback.sent`.
Limits: rows go after ``feedback.keep_messages``, 60 days unless set otherwise, the age at which
tokens expire.
Errors: every method raises `StoreUnavailable` and nothing else.
Security: the book holds envelope addresses, also where ``feedback.privacy`` is ``hashed``: without
them no event could name a recipient. The file is for the service's user and group.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from gatepost.feedback.sent import MAX_RECIPIENTS, Message

__all__ = ["MAX_RECIPIENTS", "REUSED_S", "Message", "MessageStore"]

# An id that comes again after so long is one of another message, under a queue id that came again.
REUSED_S = 86_400


class MessageStore(Protocol):
    """Keeps messages by the id that their tokens carry."""

    def add(self, messages: Sequence[Message]) -> None:
        """Store messages, all or none.

        One that is there already stays as it is, unless only the log told of it: such a one has no
        sender, and is replaced by one that has. So is one that is older by `REUSED_S`: Postfix has
        used its queue id again.
        """

    def find(self, message_id: bytes) -> Message | None:
        """Return the message of an id (8 octets), or None."""

    def find_all(self, message_ids: Collection[bytes]) -> dict[bytes, Message]:
        """Return those messages of some ids that are there, without their recipients."""

    def prune(self, before: float) -> int:
        """Delete messages that were accepted before a Unix time; return how many."""

    def close(self) -> None:
        """Close the connection of the calling thread."""
