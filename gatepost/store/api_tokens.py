"""What may be asked of the store of tokens for the API.

Purpose: who may call, and for what. Only a hash of a token is kept: it is of 256 random bits, so
that a plain SHA-256 cannot be turned back by guessing, and no slow hash is needed.
Limits: `MAX_TOKENS`.
Errors: every method raises `StoreUnavailable` and nothing else where it does not say so.
Security: the look-up goes by the hash. How long it takes depends on hashes alone, and whoever could
choose those could choose the token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

MAX_TOKENS = 10_000
# The scope of tokens that may act for all.
PLATFORM = ""


@dataclass(frozen=True, slots=True)
class ApiToken:
    """What is known of one token.

    Attributes:
        name: The operator's name for it, unique.
        tenant: Whose mail and lists it may see and change, or `PLATFORM` for everything.
        read_only: Whether it may change nothing.
        created: Unix time in seconds.
        by: Who made it.
        expires: Unix time at which it ends, or None.
    """

    name: str
    tenant: str
    read_only: bool
    created: float
    by: str
    expires: float | None = None

    def holds(self, now: float) -> bool:
        """Tell whether it has not ended."""
        return self.expires is None or now < self.expires


class ApiTokenStore(Protocol):
    """Keeps tokens."""

    def add(self, token: ApiToken, digest: bytes) -> bool:
        """Store a token; return False, and store nothing, if one has its name or hash already.

        Args:
            token: What is known of it.
            digest: SHA-256 of the token.

        Raises:
            StoreUnavailable: Also if there are `MAX_TOKENS` already.
        """

    def find(self, digest: bytes) -> ApiToken | None:
        """Return the token of a hash, ended or not, or None."""

    def all(self) -> list[ApiToken]:
        """Return all tokens by name."""

    def revoke(self, name: str) -> bool:
        """Delete a token; return whether there was one of that name."""

    def close(self) -> None:
        """Close the connection of the calling thread."""
