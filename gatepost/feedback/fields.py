"""Header fields, and the parts of reports that are written like them.

Source: RFC 5322 §2.2 (fields and folding), RFC 3464 §2.1 and RFC 5965 §3 (blocks of fields).
Format: a field is a name, a colon and a value; lines that begin with a blank continue it. A line
that is neither continues the field before it too: diagnostic texts are often broken into lines
without the blank.
Limits: 8 KiB of a field are kept, which is eight times the longest line that mail may have; 1,000
blocks, which is as many recipients as a notice may list; 1,000 fields in a block.
Errors: `MalformedMessage` for more blocks or fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gatepost.errors import MalformedMessage

MAX_FIELD_CHARACTERS = 8 * 1024
MAX_BLOCKS = 1_000
MAX_FIELDS = 1_000

# "https://" at the beginning of a line is no field.
_FIELD = re.compile(r"([!-9;-~]{1,76})[ \t]*:(?!//)[ \t]*")
_MBOX = ("From ", ">From ")


def fields_of(lines: Iterable[str]) -> list[tuple[str, str]]:
    """Return the fields of a block: names in lower case, values unfolded and cut.

    Args:
        lines: The lines without their ends.

    Raises:
        MalformedMessage: If there are more than `MAX_FIELDS`.
    """
    found: list[tuple[str, list[str]]] = []
    room = 0
    for line in lines:
        match = _FIELD.match(line)
        if match is not None:
            if len(found) == MAX_FIELDS:
                raise MalformedMessage(f"more than {MAX_FIELDS} fields", rule="limit on fields")
            found.append((match[1].lower(), []))
            room, line = MAX_FIELD_CHARACTERS, line[match.end() :]  # noqa: PLW2901
        if found and room > 0 and not line.startswith(_MBOX):
            found[-1][1].append(line[:room].strip())
            room -= len(line) + 1
    return [(name, " ".join(pieces).strip()) for name, pieces in found]


def field_blocks(text: str) -> list[dict[str, list[str]]]:
    """Return blocks of fields that empty lines separate, without those that have no field.

    Args:
        text: The text of a message/feedback-report or message/delivery-status part.

    Returns:
        For each block its fields: name in lower case to the values in order.

    Raises:
        MalformedMessage: If there are more than `MAX_BLOCKS`, or too many fields in one.
    """
    blocks: list[dict[str, list[str]]] = []
    for lines in _separated(text):
        block: dict[str, list[str]] = {}
        for name, value in fields_of(lines):
            block.setdefault(name, []).append(value)
        if block:
            if len(blocks) == MAX_BLOCKS:
                raise MalformedMessage(f"more than {MAX_BLOCKS} blocks", rule="limit on rows")
            blocks.append(block)
    return blocks


def _separated(text: str) -> Iterable[list[str]]:
    lines: list[str] = []
    for line in text.split("\n"):
        if line.strip():
            lines.append(line)
        else:
            yield lines
            lines = []
    yield lines
