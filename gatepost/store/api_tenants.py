"""What may be asked of the store of tenants that were made through the API.

Purpose: tenants that no file holds. They are settings as a file would have them, as JSON, and
`gatepost.settings` makes of them what it makes of a file.
Format: a `Mark` names the state of the whole table. Every change gives it another one, also after a
backup was put back, so that equal marks mean equal tenants.
Limits: `MAX_SETTINGS` octets for each tenant, far above what a tenant of a thousand networks has.
Errors: every method raises `StoreUnavailable` and nothing else.
Security: a change is stored only while the table is what it was checked against, so that two
writers on two nodes cannot each give the same login to another tenant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_SETTINGS = 65_536


@dataclass(frozen=True, slots=True)
class Mark:
    """The state of the table.

    Attributes:
        version: Grows with each change; 0 where nothing was ever stored.
        nonce: Chosen at random with each change; empty where nothing was ever stored.
    """

    version: int = 0
    nonce: str = ""


@dataclass(frozen=True, slots=True)
class ApiTenant:
    """One tenant.

    Attributes:
        id: Tenant id.
        settings: Its settings: a JSON object, as a file would have it.
        version: `Mark.version` of the change that stored it.
        by: Who did, such as the name of a token.
        at: Unix time in seconds.
    """

    id: str
    settings: str
    version: int
    by: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class TenantChange:
    """What is to become of one tenant.

    Attributes:
        id: Tenant id.
        settings: As of `ApiTenant`, or None to delete it.
    """

    id: str
    settings: str | None


class ApiTenantStore(Protocol):
    """Keeps tenants that were made through the API."""

    def mark(self) -> Mark:
        """Return the state of the table."""

    def all(self) -> tuple[Mark, list[ApiTenant]]:
        """Return all tenants in the order of their ids, and the state that they are."""

    def find(self, tenant: str) -> ApiTenant | None:
        """Return a tenant, or None if there is none of that id."""

    def apply(
        self, expected: Mark, changes: Sequence[TenantChange], by: str, at: float
    ) -> Mark | None:
        """Store all changes or none; return the new state, or None if it is not `expected`.

        Args:
            expected: The state that the changes were checked against.
            changes: At most one for each tenant; to delete one that is not there changes nothing.
            by: Who does it.
            at: Unix time in seconds.
        """

    def close(self) -> None:
        """Close the connection of the calling thread."""
