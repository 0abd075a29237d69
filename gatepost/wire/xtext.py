"""Xtext: text without blanks or control characters, for lists inside one attribute.

Purpose: several addresses in one value, with a blank between them, although an address may hold
blanks (``"a b"@example.org``).
Source: RFC 3461 §4, "xtext"; Postfix writes the ccert attributes of a policy request in it.
Format: the octets 33 to 126 stand for themselves, but for "+" and "="; every other octet is "+"
and two upper-case hexadecimal digits. Characters beyond ASCII are their UTF-8 octets.
Errors: `decode_xtext` raises `RemoteProtocolError`.
"""

from __future__ import annotations

import re
from typing import Final

from gatepost.errors import RemoteProtocolError
from gatepost.wire.text import decode_text, encode_text

# RFC 3461 §4: xchar = any ASCII CHAR between "!" (33) and "~" (126) inclusive, except "+" and "="
_NOT_XCHAR: Final = re.compile(rb"[^!-~]|[+=]")
_HEXCHAR: Final = re.compile(rb"\+([0-9A-F]{2})")
_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")


def encode_xtext(text: str) -> str:
    """Return `text` as xtext.

    Raises:
        LocalProtocolError: If `text` holds surrogates that stand for no octet.
    """
    return _NOT_XCHAR.sub(_to_hexchar, encode_text(text)).decode("ascii")


def decode_xtext(text: str) -> str:
    """Return the text that `encode_xtext` was given.

    Raises:
        RemoteProtocolError: If `text` is not xtext.
    """
    if not _XTEXT.fullmatch(text):
        raise RemoteProtocolError(f"{text[:60]!a} is not xtext")
    return decode_text(_HEXCHAR.sub(_from_hexchar, text.encode("ascii")))


def _to_hexchar(match: re.Match[bytes]) -> bytes:
    return f"+{ord(match[0]):02X}".encode("ascii")


def _from_hexchar(match: re.Match[bytes]) -> bytes:
    return bytes.fromhex(match[1].decode("ascii"))
