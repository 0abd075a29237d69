"""Text on the wire: UTF-8 where it is, and any other octets unharmed.

Purpose: clients send addresses and names in any octets at all. Inside, everything is `str`; an
octet that is not UTF-8 becomes a surrogate escape (PEP 383), compares and looks up as itself, and
is the same octet again on output.
Errors: `encode_text` raises `LocalProtocolError`; `decode_text` never raises.
Security: text with surrogate escapes cannot be written to a log or a terminal as it is, and text of
a client may hold control characters.
"""

from __future__ import annotations

from gatepost.errors import LocalProtocolError


def decode_text(data: bytes | bytearray) -> str:
    """Return octets as text."""
    return data.decode("utf-8", "surrogateescape")


def encode_text(text: str) -> bytes:
    """Return text as octets.

    Raises:
        LocalProtocolError: If `text` holds surrogates that stand for no octet.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise LocalProtocolError(f"{text[:60]!a} is not text that can be sent") from error
