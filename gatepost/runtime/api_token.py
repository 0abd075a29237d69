"""Tokens: how they look, how they are told, and what one may do.

Source: RFC 6750 §2.1.
Format: ``gatepost_`` and 64 hexadecimal digits, sent as ``Authorization: Bearer …``.
Limits: 256 random bits.
Security: see `gatepost.store.api_tokens`. A token is shown once, when it is made.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

from gatepost.store.api_tokens import PLATFORM, ApiToken, ApiTokenStore

PREFIX = "gatepost_"
OCTETS = 32

_TOKEN = re.compile(rb"bearer +(gatepost_[0-9a-f]{64})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        name: Name of the token.
        tenant: The tenant that the token is for, or `PLATFORM`.
        read_only: Whether it may change nothing.
    """

    name: str
    tenant: str
    read_only: bool

    @property
    def is_platform(self) -> bool:
        """Tell whether it may act for all."""
        return self.tenant == PLATFORM

    @property
    def by(self) -> str:
        """Return who did something, for the record."""
        return f"api:{self.name}"


def revoke_of(store: ApiTokenStore, tenant: str) -> list[str]:
    """Revoke the tokens of a tenant that is no more, and return their names.

    Whoever is given its id later is somebody else.

    Raises:
        StoreUnavailable: If the store cannot be read or written.
    """
    names = [token.name for token in store.all() if token.tenant == tenant]
    return [name for name in names if store.revoke(name)]


def new_token() -> str:
    """Return a token that nobody has."""
    return PREFIX + secrets.token_hex(OCTETS)


def digest_of(token: str) -> bytes:
    """Return the hash by which a token is kept."""
    return hashlib.sha256(token.encode("ascii")).digest()


def token_in(header: bytes) -> str | None:
    """Return the token of an Authorization header, or None if it has none that could be ours."""
    found = _TOKEN.fullmatch(header.strip())
    return None if found is None else found[1].decode("ascii").lower()


def caller_of(store: ApiTokenStore, token: str, now: float) -> Caller | None:
    """Return who has a token, or None if nobody has or it has ended.

    Raises:
        StoreUnavailable: If the store cannot tell.
    """
    found: ApiToken | None = store.find(digest_of(token))
    if found is None or not found.holds(now):
        return None
    return Caller(found.name, found.tenant, found.read_only)
