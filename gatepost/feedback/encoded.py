"""Undo what MIME encodes: transfer encodings, character sets and encoded words.

Purpose: the standard library's own decoding of header values takes a thousandfold of memory on
hostile ones, and looks up any character set that a mail names.
Source: RFC 2045 §6 (transfer encodings), RFC 2047 (encoded words), RFC 2231 §5 (language).
Limits: none of its own: callers cut before they decode. Every function takes time and memory in
proportion to its input, and its result is no longer than that.
Errors: none: what cannot be decoded is kept as it is, or becomes U+FFFD.
Security: only the character sets named here are tried. Python would import a module for any other
name, keep it for good, and decode "punycode" in quadratic time.
"""

from __future__ import annotations

import binascii
import html
import re
import string
from typing import Final

# As people and software name them, and as Python does.
_CHARSETS: Final = {
    # ASCII is part of UTF-8, and what claims to be ASCII and is not is mostly UTF-8.
    **dict.fromkeys(("us-ascii", "ascii", "ansi_x3.4-1968", "utf-8", "utf8", ""), "utf-8"),
    **{f"iso-8859-{n}": f"iso8859-{n}" for n in (*range(1, 12), *range(13, 17))},
    **{f"windows-{n}": f"cp{n}" for n in range(1250, 1259)},
    **{f"cp{n}": f"cp{n}" for n in range(1250, 1259)},
    "latin1": "iso8859-1",
    "koi8-r": "koi8-r",
    "koi8-u": "koi8-u",
    "shift_jis": "shift_jis",
    "shift-jis": "shift_jis",
    "iso-2022-jp": "iso2022_jp",
    "euc-jp": "euc_jp",
    "euc-kr": "euc_kr",
    "ks_c_5601-1987": "cp949",
    # What claims to be GB 2312 is mostly one of its supersets.
    **dict.fromkeys(("gb2312", "gbk", "gb18030"), "gb18030"),
    "big5": "big5",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    "tis-620": "tis-620",
}
_BASE64 = (string.ascii_letters + string.digits + "+/").encode()
_NOT_BASE64: Final = bytes(set(range(256)) - set(_BASE64))
_WORD = re.compile(r"=\?([A-Za-z0-9_.-]{1,40})(?:\*[A-Za-z0-9-]{0,40})?\?([bBqQ])\?([^?\r\n]*)\?=")
# Ends at the next "<", so that a row of them is passed over once.
_TAG = re.compile(r"<[^<>]*>")
_BREAK = re.compile(r"</?(?:br|p|div|tr|li|h[1-6]|table|pre|blockquote|title)\b", re.IGNORECASE)
# No long numbers: Python refuses to make one out of more than 4,300 digits.
_REFERENCE = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")


def undo_transfer(octets: bytes, encoding: str) -> bytes:
    """Return octets without their Content-Transfer-Encoding.

    Args:
        octets: The body of a part.
        encoding: The encoding as the part names it; one that is not known leaves it as it is.
    """
    name = encoding.strip().lower()
    if name == "base64":
        return undo_base64(octets)
    return binascii.a2b_qp(octets) if name == "quoted-printable" else octets


def undo_base64(octets: bytes) -> bytes:
    """Return what base64 text holds, passing over whatever does not belong to it."""
    digits = octets.translate(None, _NOT_BASE64)
    # One digit that is left over holds less than an octet.
    digits = digits[: len(digits) - 1] if len(digits) % 4 == 1 else digits
    return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))


def to_text(octets: bytes, charset: str = "") -> str:
    """Return octets as text; in an unknown character set as UTF-8."""
    codec = _CHARSETS.get(charset.strip().lower(), "utf-8")
    return octets.decode(codec, "replace")


def decode_words(text: str) -> str:
    """Return text with its encoded words decoded, in time proportional to its length."""
    found: list[str] = []
    octets, charset, place = b"", "", 0
    for word in _WORD.finditer(text):
        between = text[place : word.start()]
        name = word[1].lower()
        # A character of several octets may be cut in two words.
        if octets and (between.strip() or name != charset):
            found.append(to_text(octets, charset))
            octets = b""
        # Blanks between two words are not part of the text.
        if place == 0 or between.strip():
            found.append(between)
        octets, charset, place = octets + _payload(word), name, word.end()
    found += [to_text(octets, charset), text[place:]]
    return "".join(found)


def _payload(word: re.Match[str]) -> bytes:
    octets = word[3].encode("utf-8", "surrogateescape")
    return undo_base64(octets) if word[2] in "bB" else binascii.a2b_qp(octets, header=True)


def strip_tags(text: str) -> str:
    """Return the text of HTML, with a line end for each tag that makes one."""
    plain = _TAG.sub(lambda tag: "\n" if _BREAK.match(tag[0]) else "", text)
    return _REFERENCE.sub(lambda reference: html.unescape(reference[0]), plain)
