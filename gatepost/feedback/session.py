"""The session header: how the policy server tells the milter which tenant a certificate names.

Purpose: a milter never sees the fingerprint of a client certificate; the policy service does. It
prepends this header at RCPT TO, and the milter takes every copy out again at end of message.
Source: Postfix access(5), PREPEND; MILTER_README, macro table.
Format: a token of purpose ``session`` whose message field is a hash of client address and port.
Errors: `tenant_of_session` returns None for anything that we did not make for this connection.
Security: a client that sends the header itself cannot sign it, and a token that leaked from one
connection is worthless on another.
"""

from __future__ import annotations

import hashlib

from gatepost.errors import MalformedMessage
from gatepost.feedback.token import Keyring, Purpose, Token, day_of, open_token, seal_token
from gatepost.tenants.client import Client
from gatepost.tenants.model import Tenant

SESSION_HEADER = "X-Gatepost-Session"


def seal_session(tenant: Tenant, client: Client, keyring: Keyring, now: float) -> str:
    """Return the header value that vouches for a tenant on one connection."""
    token = Token(tenant.number, _connection(client), 0, day_of(now))
    return seal_token(token, Purpose.SESSION, keyring)


def tenant_of_session(value: str, client: Client, keyring: Keyring, now: float) -> int | None:
    """Return the tenant number that a header value vouches for, or None."""
    try:
        token = open_token(value.strip(" \t\r\n"), Purpose.SESSION, keyring, now)
    except MalformedMessage:
        return None
    return token.tenant if token.message == _connection(client) else None


def _connection(client: Client) -> bytes:
    text = f"{client.address}\0{client.port}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=8).digest()
