"""What may be asked of the store of messages that Gatepost has put on hold on this node.

Purpose: a release must free exactly these. What the operator holds by himself, or a quota or
header_checks does, is not in here and stays on hold.
Limits: a row for each message that is held. It is written before the message is held: a process
that is killed in between leaves a row of a message that goes on, whose release does nothing.
Errors: every method raises `StoreUnavailable` and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Cause(StrEnum):
    """What a message is held for."""

    PAUSE = "pause"
    OPERATOR = "hold"


@dataclass(frozen=True, slots=True)
class Held:
    """One message.

    Attributes:
        instance: Configuration directory of the Postfix instance that has it.
        queue_id: Queue id.
        arrival: Unix time in seconds, by which a short queue id is known again.
        tenant: Tenant id.
        cause: What it is held for.
        at: Unix time in seconds since when.
        campaign: Of a pause: the campaign that it is about, or empty.
        domain: Of a pause: the recipient domain that it is about, or empty.
    """

    instance: str
    queue_id: str
    arrival: int
    tenant: str
    cause: Cause
    at: float
    campaign: str = ""
    domain: str = ""


class HeldStore(Protocol):
    """Keeps what is held."""

    def add(self, rows: Sequence[Held]) -> None:
        """Store rows, all or none, in place of older ones of the same message."""

    def all(self, tenant: str | None = None) -> list[Held]:
        """Return what is held, of one tenant or of all, oldest first."""

    def find(self, messages: Iterable[tuple[str, str]]) -> list[Held]:
        """Return what is held of some messages, by instance and queue id."""

    def remove(self, messages: Iterable[tuple[str, str]]) -> None:
        """Forget messages, by instance and queue id."""

    def alone(self) -> AbstractContextManager[None]:
        """Keep all others from holding and letting go on this node, as long as a block takes.

        Who holds a message must find out, between writing it down and the answer of Postfix, that
        nobody else has done so: what two hold at once, one of them would forget.
        """

    def close(self) -> None:
        """Close the connection of the calling thread."""
