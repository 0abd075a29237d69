"""How much of a report is looked at, and the check of that before anything is parsed.

Limits: 16 MiB of mail or JSON; 100,000 JSON objects and 1,000,000 values; nesting of 16, where RFC
8460 needs 5; 10,000 policies and 50,000 failure details; texts of 500 characters, 1,000 policy
strings or MX patterns; 100 gzip members. A report of 1 MiB, which is a large one, is far below.
Errors: `MalformedMessage` for what is larger.
Security: Python's JSON parser recurses and builds whatever it is told to, and gzip data can grow a
thousandfold, so sizes, depth and numbers are known beforehand.
"""

from __future__ import annotations

import re
import zlib

from gatepost.errors import MalformedMessage

MAX_OCTETS = 16 * 1024 * 1024
MAX_OBJECTS = 100_000
MAX_VALUES = 1_000_000
MAX_DEPTH = 16
MAX_POLICIES = 10_000
MAX_DETAILS = 50_000
MAX_TEXT = 500
MAX_LIST = 1_000

# Each costs a copy of the rest; RFC 8460 §5.2 needs one.
MAX_MEMBERS = 100

RULE = "RFC 8460 §4.4"
_GZIP = "RFC 1952 §2.2"
GZIP_MAGIC = b"\x1f\x8b"

# Possessive, and with an end for what is never closed: one pass over any input.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_GZIP_WINDOW = 31


def inflate(octets: bytes, limit: int = MAX_OCTETS) -> bytes:
    """Return what gzip data holds, all members of it.

    Args:
        octets: The data.
        limit: The most octets that may come out.

    Raises:
        MalformedMessage: If it is no whole gzip data, or holds more.
    """
    rest, room = octets, limit
    parts: list[bytes] = []
    while rest.startswith(GZIP_MAGIC):
        if len(parts) == MAX_MEMBERS:
            raise MalformedMessage(f"the gzip data has more than {MAX_MEMBERS} parts", rule=_GZIP)
        stream = zlib.decompressobj(_GZIP_WINDOW)
        try:
            # One octet more than allowed tells "just fits" from "goes on".
            part = stream.decompress(rest, room + 1)
        except zlib.error as error:
            raise MalformedMessage(f"the gzip data is damaged: {error}", rule=_GZIP) from error
        if len(part) > room:
            raise MalformedMessage(f"the gzip data holds more than {limit} octets", rule=_GZIP)
        if not stream.eof:
            raise MalformedMessage("the gzip data ends too early", rule=_GZIP)
        parts.append(part)
        room -= len(part)
        rest = stream.unused_data
    # What follows the last member is padding; gzip(1) ignores it with a warning.
    return b"".join(parts)


def check_shape(octets: bytes) -> None:
    """Refuse JSON that would cost too much to parse.

    Args:
        octets: UTF-8 text.

    Raises:
        MalformedMessage: If it exceeds a limit.
    """
    if len(octets) > MAX_OCTETS:
        raise MalformedMessage(f"the report has more than {MAX_OCTETS} octets", rule=RULE)
    bare = _STRING.sub(b"", octets)
    objects = bare.count(b"{")
    values = objects + bare.count(b"[") + bare.count(b",")
    if objects > MAX_OBJECTS or values > MAX_VALUES:
        raise MalformedMessage(
            f"the report has {objects} objects and {values} values; {MAX_OBJECTS} and "
            f"{MAX_VALUES} are taken",
            rule=RULE,
        )
    depth = 0
    for bracket in _BRACKET.findall(bare):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise MalformedMessage(f"the report is nested deeper than {MAX_DEPTH}", rule=RULE)
