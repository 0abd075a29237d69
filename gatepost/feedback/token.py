"""The signed, opaque reference to (tenant, message, recipient) in return path and headers.

Purpose: providers redact recipients and strip headers, so what comes back must carry a reference
of our own that nobody can forge or read, and that authorises one thing only.
Source: RFC 9477 §5 (HMAC in CFBL-Feedback-ID), RFC 5321 §4.5.3.1.1 (local part at most 64 octets).
Format: ``base32(payload + mac)`` in lower case without padding, 48 characters. Payload, 19 octets:
version and key id (1: high 3 bits, low 5 bits), tenant number (6), message id (8), recipient
index or 0 (2), days since 2020-01-01 (2). MAC: HMAC-SHA256 over purpose, NUL and payload, cut to
88 bits.
Errors: `open_token` raises `MalformedMessage` for anything that is not a token that we made for
that purpose and that has not expired.
Security: the purpose is signed and not carried, so a bounce token cannot unsubscribe anybody. The
comparison takes constant time. Old keys verify until their tokens expire. Base32 in lower case
survives mail systems that fold the case of local parts.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from gatepost.errors import MalformedMessage

TOKEN_CHARACTERS = 48
MAX_AGE_DAYS = 60
MAX_KEY_ID = 31
MIN_KEY_OCTETS = 32

_VERSION = 1
_LOOKS = re.compile(rf"[A-Za-z2-7]{{{TOKEN_CHARACTERS}}}")
_MAC_OCTETS = 11
_PAYLOAD = struct.Struct(">B6s8sHH")
_DIGITS = "abcdefghijklmnopqrstuvwxyz234567"
# Two digits are ten bits; the first two of a token are its highest.
_PAIRS = tuple(first + second for first in _DIGITS for second in _DIGITS)
_SHIFTS = range(5 * TOKEN_CHARACTERS - 10, -1, -10)
_EPOCH_DAY = 18262  # 2020-01-01 in days since 1970-01-01
_SECONDS_A_DAY = 86400
_MAX_DAY = 0xFFFF
# Clocks of two nodes may stand on either side of midnight.
_FUTURE_DAYS = 1


class Purpose(StrEnum):
    """What a token authorises; each has its own signature."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Keyring:
    """HMAC keys by key id, with the one that signs.

    Attributes:
        keys: Key id (0 to 31) to secret of at least 32 octets.
        current: Id of the key that signs; the others only verify.
    """

    keys: Mapping[int, bytes] = field(repr=False)
    current: int


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says.

    Attributes:
        tenant: Tenant number, 48 bits.
        message: Message id, 8 octets.
        recipient: Index of the recipient, from 1, or 0 for the whole message.
        day: Days since 2020-01-01 on which it was made.
    """

    tenant: int
    message: bytes
    recipient: int
    day: int


def day_of(now: float) -> int:
    """Return the token day of a Unix time in seconds.

    A host whose clock stands before 2020, such as one without a battery that has just started,
    gets day 0: mail does not wait for its clock.
    """
    return min(max(int(now // _SECONDS_A_DAY) - _EPOCH_DAY, 0), _MAX_DAY)


# A message asks for its own some three times.
@lru_cache(maxsize=256)
def message_id_of(host: str, queue_id: str) -> bytes:
    """Return the 8-octet message id for a queue id on a host.

    It is derived and not drawn, so that a message is known again by its queue id, and so that a log
    line with the queue id leads to it without a store.
    """
    return hashlib.blake2b(f"{host}\0{queue_id}".encode("utf-8", "replace"), digest_size=8).digest()


def looks_like_token(text: str) -> bool:
    """Tell whether a text has the form of a token, whoever made it."""
    return _LOOKS.fullmatch(text) is not None


def seal_token(token: Token, purpose: Purpose, keyring: Keyring) -> str:
    """Return the 48 characters for a token, signed with the current key."""
    head = _VERSION << 5 | keyring.current
    payload = _PAYLOAD.pack(
        head, token.tenant.to_bytes(6, "big"), token.message, token.recipient, token.day
    )
    number = int.from_bytes(payload + _mac(keyring.keys[keyring.current], purpose, payload), "big")
    # A third of what base64.b32encode() takes, which goes through bytes and knows of padding.
    return "".join([_PAIRS[number >> shift & 0x3FF] for shift in _SHIFTS])


def open_token(text: str, purpose: Purpose, keyring: Keyring, now: float) -> Token:
    """Return what a token says, if we made it for this purpose and it has not expired.

    Args:
        text: The 48 characters, in any case.
        purpose: What the caller wants to use it for.
        keyring: The keys that may have signed it.
        now: Unix time in seconds.

    Raises:
        MalformedMessage: If the text is no token, was signed by nobody we know or for another
            purpose, or is older than `MAX_AGE_DAYS`.
    """
    if not looks_like_token(text):
        raise MalformedMessage("not a token", rule="RFC 4648 §6")
    raw = base64.b32decode(text.upper())
    payload, mac = raw[: _PAYLOAD.size], raw[_PAYLOAD.size :]
    head, tenant, message, recipient, day = _PAYLOAD.unpack(payload)
    key = keyring.keys.get(head & MAX_KEY_ID)
    if head >> 5 != _VERSION or key is None:
        raise MalformedMessage("token of an unknown version or key", rule="token key")
    if not hmac.compare_digest(mac, _mac(key, purpose, payload)):
        raise MalformedMessage(
            "token was not signed by us for this purpose", rule="token signature"
        )
    if not -_FUTURE_DAYS <= day_of(now) - day <= MAX_AGE_DAYS:
        raise MalformedMessage("token has expired", rule="token age")
    return Token(int.from_bytes(tenant, "big"), message, recipient, day)


@lru_cache(maxsize=256)
def _signer(key: bytes, purpose: Purpose) -> hmac.HMAC:
    """Return what signs for a purpose, to be copied for each token."""
    return hmac.new(key, purpose.encode() + b"\0", "sha256")


def _mac(key: bytes, purpose: Purpose, payload: bytes) -> bytes:
    signer = _signer(key, purpose).copy()
    signer.update(payload)
    return signer.digest()[:_MAC_OCTETS]
