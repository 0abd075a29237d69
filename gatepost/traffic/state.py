"""What is known of the traffic of tenants, as decisions read it.

Purpose: the view that the transport map, ``gatepost explain`` and the commands share of what the
processes have measured: who is in burst, whose mail is outstanding, what is over a warm-up.
Format: a backlog counts what Postfix has in its queues and may deliver: incoming, active and
deferred mail of all its instances, and not what is on hold.
Errors: none. What is not known is None, and then nothing is moved or refused for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Backlog:
    """What of a tenant's mail is outstanding on this host.

    Attributes:
        messages: So many messages.
        recipients: So many recipients of them that have no final outcome yet.
        oldest: Unix time in seconds at which the oldest of them arrived, or 0.0 without any.
    """

    messages: int = 0
    recipients: int = 0
    oldest: float = 0.0


NO_BACKLOG = Backlog()


@dataclass(frozen=True, slots=True)
class Moved:
    """A tenant that is in burst.

    Attributes:
        since: Unix time in seconds.
        why: What passed its threshold, in words.
    """

    since: float
    why: str


class TrafficState(Protocol):
    """What is known; the answers may change from one call to the next."""

    def in_burst(self, tenant_id: str) -> Moved | None:
        """Return since when and why a tenant is in burst, or None if it is not."""

    def backlog(self, tenant_id: str) -> Backlog | None:
        """Return what is outstanding of a tenant, or None where nobody knows."""

    def over_warmup(self, key: str) -> bool:
        """Tell whether what was sent under a warm-up is over its cap of today."""


class NothingKnown:
    """The state of which nothing is known."""

    def in_burst(self, tenant_id: str) -> Moved | None:  # noqa: ARG002
        """Return None."""
        return None

    def backlog(self, tenant_id: str) -> Backlog | None:  # noqa: ARG002
        """Return None."""
        return None

    def over_warmup(self, key: str) -> bool:  # noqa: ARG002
        """Return False."""
        return False


NO_TRAFFIC: TrafficState = NothingKnown()
