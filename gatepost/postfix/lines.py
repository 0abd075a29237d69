"""Postfix's line structure, kept so exactly that an edit touches only the characters it names.

Purpose: main.cf and master.cf share one notion of a logical line. This module finds the logical
lines and remembers where each of their characters stands in the file.
Source: Postfix postconf(5) and master(5), "general format"; src/util/readlline.c.
Format: empty lines, lines of white space and lines whose first other character is "#" are
skipped and end nothing. A line that starts with white space continues the logical line before it.
Line breaks vanish; there are no quotes and no backslashes.
Errors: none; what Postfix would warn about or refuse is left to Postfix.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# C's isspace() in Postfix's locale. Python's str.isspace() knows many more.
SPACE = " \t\n\v\f\r"


@dataclass(frozen=True, slots=True)
class Physical:
    """One line of the file.

    Attributes:
        start: Offset of its first character.
        end: Offset behind its line break, or the end of the file.
        text: The line without its line break; a carriage return stays.
    """

    start: int
    end: int
    text: str

    @property
    def whole(self) -> str:
        """Return the line with its line break, if it has one."""
        return self.text + "\n" * (self.end - self.start - len(self.text))

    @property
    def skipped(self) -> bool:
        """Tell whether Postfix skips it: empty, white space or a comment."""
        rest = self.text.lstrip(SPACE)
        return not rest or rest.startswith("#")


@dataclass(frozen=True, slots=True)
class Logical:
    """One logical line: the physical lines that carry it, comments between them left out.

    Attributes:
        number: 1-based number of its first physical line.
        parts: Its physical lines in order.
        text: Their text joined, as Postfix sees it.
    """

    number: int
    parts: tuple[Physical, ...]
    text: str

    @property
    def start(self) -> int:
        """Return the offset of its first character."""
        return self.parts[0].start

    def offset(self, index: int) -> int:
        """Return where in the file the character at an index of `text` stands.

        Args:
            index: 0 to ``len(text)``; the length gives the place behind the last character.
        """
        for part in self.parts:
            if index < len(part.text):
                return part.start + index
            index -= len(part.text)
        last = self.parts[-1]
        return last.start + len(last.text)


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the characters from `start` to before `end` by `text`."""

    start: int
    end: int
    text: str


def physical_lines(text: str) -> Iterator[Physical]:
    """Yield the lines of a file; only a line feed breaks a line."""
    start = 0
    while start < len(text):
        found = text.find("\n", start)
        end = len(text) if found < 0 else found + 1
        yield Physical(start, end, text[start:end].removesuffix("\n"))
        start = end


def logical_lines(text: str) -> list[Logical]:
    """Return the logical lines of a file, in order.

    White space at the very start of a file, which continues nothing, gives a logical line that
    starts with white space; Postfix ignores it with a warning, and so does whoever reads it here.
    """
    found: list[tuple[int, list[Physical]]] = []
    for number, line in enumerate(physical_lines(text), 1):
        if line.skipped:
            continue
        if found and line.text[0] in SPACE:
            found[-1][1].append(line)
        else:
            found.append((number, [line]))
    return [
        Logical(number, tuple(parts), "".join(part.text for part in parts))
        for number, parts in found
    ]


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """Return a text with all edits made; they must not overlap."""
    for edit in sorted(edits, key=lambda e: (e.start, e.end), reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text
