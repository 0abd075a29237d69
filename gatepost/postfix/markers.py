"""How attach marks what it writes, so that detach needs no other record.

Purpose: the two files themselves say what is ours. Detach therefore works from the files alone,
after years, on another host, and with the state directory lost.
Format: four marks.

- A block between two marker lines, at the end of each file. Comment lines in it that start with
  ``#:`` are ours.
- Parameters whose names start with ``gatepost_``; the operator's own lists refer to them, as in
  ``smtpd_milters = $gatepost_milter, inet:localhost:8891``.
- ``#gatepost#`` in front of each line of a setting that ours replaces.
- Services whose names start with ``gp-``.

Errors: `find_block` raises `AttachError` where the marker lines are damaged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gatepost.errors import AttachError
from gatepost.postfix.lines import Edit, Logical, physical_lines

BEGIN_ANY = "# gatepost begin"
BEGIN = "# gatepost begin: `gatepost detach` takes out this block and nothing else"
# Detach must also take back the line break that attach had to add to an unfinished last line.
BEGIN_AFTER_UNFINISHED_LINE = f"{BEGIN}, nor the line break before it"
END = "# gatepost end"
COMMENT = "#: "
KEPT = "#: kept as it is, by --keep: "
REPLACED = "#gatepost# "

PRIVATE_PREFIX = "gatepost_"
SERVICE_PREFIX = "gp-"

_BEGIN = re.compile(r"# gatepost begin\b.*", re.DOTALL)
_END = re.compile(r"# gatepost end\s*")
# Blanks and a comma behind a reference belong to it as far as attach writes them: ", " in a value
# with room for blanks, "," in one without.
_TOKEN = re.compile(
    r"\$(?:gatepost_[a-z_]+|\{gatepost_[a-z_]+\}|\(gatepost_[a-z_]+\))(?P<tail>, ?|[ \t]+(?=\S))?"
)
_LAST_TOKEN = re.compile(
    r"(?:,[ \t]*|[ \t]+)\$(?:gatepost_[a-z_]+|\{gatepost_[a-z_]+\}|\(gatepost_[a-z_]+\))\Z"
)


@dataclass(frozen=True, slots=True)
class Block:
    """Where the block stands in a file.

    Attributes:
        start: Offset of the first marker line.
        end: Offset behind the second marker line.
        after_unfinished_line: Whether the line break before it is ours too.
    """

    start: int
    end: int
    after_unfinished_line: bool


def find_block(text: str, file: str) -> Block | None:
    """Return the block in a file, or None.

    Args:
        text: The file.
        file: Its name, for errors.

    Raises:
        AttachError: If one marker line is missing, or there is more than one block.
    """
    begins, ends = [], []
    for number, line in enumerate(physical_lines(text), 1):
        if _BEGIN.fullmatch(line.text):
            begins.append((number, line))
        elif _END.fullmatch(line.text):
            ends.append((number, line))
    if not begins and not ends:
        return None
    if len(begins) != 1 or len(ends) != 1 or ends[0][1].start < begins[0][1].start:
        where = ", ".join(str(number) for number, _ in sorted(begins + ends, key=lambda m: m[0]))
        raise AttachError(
            f"{file}: the marker lines of the gatepost block (line {where}) are not one "
            f'"# gatepost begin" followed by one "{END}"; put the missing one back around the '
            "lines that attach wrote, or delete the surplus one, and run the command again"
        )
    start, end = begins[0][1], ends[0][1]
    return Block(start.start, end.end, BEGIN_AFTER_UNFINISHED_LINE in start.text)


def insert_block(text: str, lines: list[str], position: int | None) -> str:
    """Return a file with a block put in.

    Args:
        text: A file without a block.
        lines: What stands between the marker lines, without line breaks.
        position: Offset of a line start where a block stood before, or None for the end.
    """
    place = len(text) if position is None else position
    unfinished = place > 0 and text[place - 1] != "\n"
    head = "\n" + BEGIN_AFTER_UNFINISHED_LINE if unfinished else BEGIN
    block = "\n".join([head, *lines, END]) + "\n"
    return text[:place] + block + text[place:]


def token(name: str) -> str:
    """Return the reference by which an operator's list includes one of our parameters."""
    return f"${name}"


def splice(value: str, start: int, name: str, *, roomy: bool) -> Edit:
    """Return the edit that puts a reference to one of our parameters first into a list.

    Args:
        value: The list, possibly empty.
        start: File offset at which it starts.
        name: Our parameter.
        roomy: Whether the value may hold white space.
    """
    separator = (", " if roomy else ",") if value else ""
    return Edit(start, start, token(name) + separator)


def unsplice(text: str, line: Logical, start: int, end: int) -> Iterator[Edit]:
    """Yield the edits that take all references to our parameters out of a list.

    The list may have been rewritten since: one separator goes with each reference, the one behind
    it or, at the end, the one before it.

    Args:
        text: The file.
        line: The logical line that holds the list; comments inside it are left alone.
        start: File offset at which the list starts.
        end: File offset behind it.
    """
    free = start
    for part in line.parts:
        begin, stop = max(start, part.start), min(end, part.start + len(part.text))
        for found in _TOKEN.finditer(text, begin, max(begin, stop)):
            first, last = found.span()
            if found["tail"] is None and last == end:
                ending = _LAST_TOKEN.search(text, max(begin, free), end)
                first = ending.start() if ending is not None else first
            free = last
            yield Edit(first, last, "")
