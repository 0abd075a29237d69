"""The domains of the authors that a From: field names, read so that nobody can read it otherwise.

Purpose: tell whom the recipient will take for the author. What two mail programs would read
differently is not read at all: the caller then refuses the message.
Source: RFC 5322 §3.2.2 (comments), §3.2.4 (quoted strings), §3.4 (addresses), §3.6.2 (From:).
Format: the field is cut at commas outside quoted strings and comments. Of each part the address in
angle brackets counts, and so does every other word with an "@": in ``ceo@bank.example
<x@own.example>``, which RFC 5322 does not allow, some programs take the first for the author.
Limits: 8 KiB of a field and 100 addresses; more is refused, not guessed. Comments nest 10 deep.
Errors: none; `author_domains` returns None for what it does not read.
Security: one pass over the characters, so that no field costs more than its length. A field with a
NUL, which stands at the end of one that was cut, is not read: an author may be in the rest.
Not handled: groups, source routes and semicolons as separators are not read. A display name in
quotes or in encoded words (RFC 2047) may say anything, also another's address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gatepost.domains import domain_of

MAX_FROM_CHARACTERS = 8192
MAX_FROM_ADDRESSES = 100
MAX_COMMENT_DEPTH = 10

_QUOTE, _OPEN, _CLOSE, _ESCAPE = '"', "(", ")", "\\"
# White space as RFC 5322 has it; a no-break space or a form feed is part of an address.
_BLANKS = " \t\r\n"
_ADDRESS = re.compile(r"[^\s@<>;:,]+@[^\s@<>;:,]+")
_PART = re.compile(r"(?P<before>[^<>]*)<(?P<address>[^<>]*)>(?P<after>[^<>]*)")


def author_domains(value: str) -> list[str | None] | None:
    """Return the domain of each address in a From: field, None where an address has none.

    Returns:
        One entry for each address and each word that looks like one, or None if the field is too
        long, names nobody, or cannot be read in one way only.
    """
    if len(value) > MAX_FROM_CHARACTERS or "\0" in value:
        return None
    plain = _without_quotes_and_comments(value)
    if plain is None or ";" in plain:
        return None
    parts = plain.split(",")
    if len(parts) > MAX_FROM_ADDRESSES:
        return None
    domains: list[str | None] = []
    for part in parts:
        found = _domains_of_part(part)
        if found is None:
            return None
        domains += found
    return domains


def _domains_of_part(part: str) -> list[str | None] | None:
    """Return the domains that one part between two commas shows, or None if it has no address."""
    bracketed = _PART.fullmatch(part)
    if bracketed is None:
        address = part.strip(_BLANKS)
        return [domain_of(address)] if _ADDRESS.fullmatch(address) else None
    address = bracketed["address"].strip(_BLANKS)
    if not _ADDRESS.fullmatch(address):
        return None
    words = (bracketed["before"] + " " + bracketed["after"]).split()
    return [*(domain_of(word) for word in words if "@" in word), domain_of(address)]


def _without_quotes_and_comments(value: str) -> str | None:
    """Return a field with each quoted string as "q" and each comment as a blank.

    Returns:
        None if a quoted string or comment does not end, a comment ends that never began, or a
        backslash stands where it escapes nothing.
    """
    kept: list[str] = []
    characters = iter(value)
    for character in characters:
        if character == _QUOTE:
            kept.append("q")
            ended = _skip_quoted(characters)
        elif character == _OPEN:
            kept.append(" ")
            ended = _skip_comment(characters)
        else:
            kept.append(character)
            ended = character not in (_CLOSE, _ESCAPE)
        if not ended:
            return None
    return "".join(kept)


def _skip_quoted(characters: Iterator[str]) -> bool:
    """Go behind the end of a quoted string; tell whether it has one."""
    for character in characters:
        if character == _QUOTE:
            return True
        if character == _ESCAPE:
            next(characters, None)
    return False


def _skip_comment(characters: Iterator[str]) -> bool:
    """Go behind the end of a comment; tell whether it has one and is not nested too deeply."""
    depth = 1
    for character in characters:
        if character == _ESCAPE:
            next(characters, None)
        elif character == _OPEN:
            depth += 1
            if depth > MAX_COMMENT_DEPTH:
                return False
        elif character == _CLOSE:
            depth -= 1
            if not depth:
                return True
    return False
