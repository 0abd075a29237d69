"""The text of a lookup table: logical lines, keys and values, with the line that each stands on.

Source: postmap(1), TABLE FORMAT (blank before a continuation, "#" for comments, keys in double
quotes); regexp_table(5), pcre_table(5): "/pattern/flags result", "!/pattern/", "if", "endif".
Errors: none; a line that Postfix would skip with a warning is an entry without value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

_PATTERN_START = re.compile(r"(?:if\s*)?!?\s*/", re.IGNORECASE)


class Format(StrEnum):
    """How the left-hand sides of a table are meant."""

    KEYS = "keys"
    PATTERNS = "patterns"
    NETWORKS = "networks"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a table.

    Attributes:
        key: Left-hand side as written: a next-hop, or a pattern with its delimiters.
        value: Right-hand side, empty where there is none.
        where: Where it stands, such as ``/etc/postfix/tls_policy:3``.
        inside: Whether it stands between "if" and "endif", or is one of these.
    """

    key: str
    value: str
    where: str
    inside: bool = False


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the logical lines of a table, each with the number of its first line."""
    first, parts = 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        plain = line.strip()
        # Comments and empty lines do not end a logical line.
        if not plain or plain.startswith("#"):
            continue
        if line[0] in " \t" and parts:
            parts += f" {plain}"
            continue
        if parts:
            yield first, parts
        first, parts = number, plain
    if parts:
        yield first, parts


def guess_format(text: str) -> Format:
    """Return what a table whose type is not told most probably is."""
    first = next((line for _, line in logical_lines(text)), "")
    return Format.PATTERNS if _PATTERN_START.match(first) else Format.KEYS


def read_entries(text: str, name: str, form: Format) -> list[Entry]:
    """Return the entries of a table in order.

    Args:
        text: The source of the table.
        name: How the file is called in messages.
        form: What its left-hand sides are.
    """
    if form is Format.PATTERNS:
        return list(_patterns(text, name))
    return [_keyed(line, f"{name}:{number}") for number, line in logical_lines(text)]


def _keyed(line: str, where: str) -> Entry:
    if line.startswith('"') and (end := line.find('"', 1)) > 0:
        return Entry(line[1:end], line[end + 1 :].strip(), where)
    words = line.split(None, 1)
    return Entry(words[0], words[1] if len(words) == 2 else "", where)


def _patterns(text: str, name: str) -> Iterator[Entry]:
    depth = 0
    for number, line in logical_lines(text):
        where = f"{name}:{number}"
        word = line.split(None, 1)[0].lower()
        if word == "endif":
            depth = max(0, depth - 1)
            yield Entry(line, "", where, inside=True)
        elif word == "if" or re.match(r"if\s*!?\s*/", line, re.IGNORECASE):
            depth += 1
            yield Entry(line, "", where, inside=True)
        else:
            key, value = _split_pattern(line)
            yield Entry(key, value, where, inside=depth > 0)


def _split_pattern(line: str) -> tuple[str, str]:
    """Return "/pattern/flags" and the result."""
    start = len(line) - len(line.lstrip("! \t"))
    delimiter = line[start : start + 1]
    end = start + 1
    while end < len(line) and line[end] != delimiter:
        end += 2 if line[end] == "\\" else 1
    while end < len(line) and not line[end].isspace():
        end += 1
    return line[:end], line[end:].strip()
