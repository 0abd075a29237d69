"""One file on its way: edits in place, a block, and the reason for each line.

Errors: none.
"""

from __future__ import annotations

import textwrap

from gatepost.postfix.lines import Edit, Logical, apply_edits
from gatepost.postfix.markers import COMMENT, REPLACED, insert_block
from gatepost.postfix.plan import Change, Draft, Note

_WIDTH = 98


class Editor:
    """Collects what happens to one file; `draft` then does it all at once.

    Attributes:
        notes: What else there is to say.
    """

    def __init__(self, file: str, text: str) -> None:
        self.notes: list[Note] = []
        self._file = file
        self._text = text
        self._edits: list[Edit] = []
        self._block: list[str] = []
        self._changes: list[Change] = []

    def insert(self, line: Logical, edit: Edit, reason: str) -> None:
        """Put text into a line of the operator's."""
        self._edits.append(edit)
        part = next(p for p in line.parts if p.start <= edit.start <= p.start + len(p.text))
        column = edit.start - part.start
        new = (part.text[:column] + edit.text + part.text[column:]).split("\n")
        for each in new[1:] or new:
            self._changes.append(Change(self._file, each.rstrip("\r"), reason))

    def comment_out(self, line: Logical, reason: str) -> None:
        """Take a setting of the operator's out of force, in a form that detach can undo."""
        for part in line.parts:
            self._edits.append(Edit(part.start, part.start, REPLACED))
            self._changes.append(Change(self._file, REPLACED + part.text.rstrip("\r"), reason))

    def add(self, line: str, reason: str, *, indent: str = "") -> None:
        """Append a line to the block, under its reason."""
        self._block += comment(reason, indent)
        self._block.append(indent + line)
        self._changes.append(Change(self._file, indent + line, reason, in_block=True))

    def add_plain(self, line: str) -> None:
        """Append a line to the block that needs no reason of its own."""
        self._block.append(line)

    def lines(self) -> list[str]:
        """Return the lines of the block so far."""
        return list(self._block)

    def draft(self, position: int | None) -> Draft:
        """Return the new text.

        Args:
            position: Offset of the line at which a block stood before, or None for the end.
        """
        text = apply_edits(self._text, self._edits)
        if self._block:
            if position is not None:
                position += sum(
                    len(edit.text) - (edit.end - edit.start)
                    for edit in self._edits
                    if edit.start < position
                )
            text = insert_block(text, self._block, position)
        return Draft(text, tuple(self._changes), tuple(self.notes))


def comment(reason: str, indent: str = "") -> list[str]:
    """Return a reason as comment lines of a block."""
    head = COMMENT + indent
    return [
        head + line
        for line in textwrap.wrap(
            reason, _WIDTH - len(head), break_on_hyphens=False, break_long_words=False
        )
    ]
