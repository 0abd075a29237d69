"""What attach or detach is going to do: data to show, to check and then to carry out.

Errors: none.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import StrEnum

from gatepost.postfix.lines import physical_lines

MAIN_CF = "main.cf"
MASTER_CF = "master.cf"

NO_NEWLINE = "\\ No newline at end of file\n"


class Weight(StrEnum):
    """How much a note matters."""

    NOTE = "note"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Note:
    """Something that the operator should know and that changes no file.

    Attributes:
        weight: Whether it may bite.
        text: Whole sentences.
    """

    weight: Weight
    text: str


@dataclass(frozen=True, slots=True)
class Change:
    """One line that changes, and why.

    Attributes:
        file: ``main.cf`` or ``master.cf``.
        line: The line as it will be.
        reason: Why, in one or two sentences.
        in_block: Whether it stands in our block, where the reason is a comment above it.
    """

    file: str
    line: str
    reason: str
    in_block: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """New text of one file.

    Attributes:
        text: The file.
        changes: Its changed lines with reasons.
        notes: What else there is to say.
    """

    text: str
    changes: tuple[Change, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """All that will be done.

    Attributes:
        old: File name to present text, for main.cf and master.cf.
        new: File name to future text.
        filter_file: Whether the bounce table is to exist; None leaves it as it is.
        changes: The changed lines with reasons, in file order.
        notes: What else there is to say.
    """

    old: dict[str, str]
    new: dict[str, str]
    filter_file: bool | None = None
    changes: tuple[Change, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def changed(self) -> tuple[str, ...]:
        """Return the names of the files whose text changes."""
        return tuple(name for name in self.new if self.new[name] != self.old[name])

    def diff(self, name: str, directory: str) -> list[str]:
        """Return a unified diff of one file that patch(1) takes, as lines with their line breaks.

        Args:
            name: File name.
            directory: Where it stands, for the head of the diff.
        """
        return diff_of(self.old[name], self.new[name], f"{directory}/{name}")


def diff_of(old: str, new: str, path: str) -> list[str]:
    """Return a unified diff of one file that patch(1) takes, as lines with their line breaks."""
    lines = difflib.unified_diff(
        [line.whole for line in physical_lines(old)],
        [line.whole for line in physical_lines(new)],
        path,
        f"{path} (new)",
    )
    return [each for line in lines for each in _ended(line)]


def _ended(line: str) -> tuple[str, ...]:
    return (line,) if line.endswith("\n") else (line + "\n", NO_NEWLINE)


def note(text: str) -> Note:
    """Return a plain note."""
    return Note(Weight.NOTE, text)


def warning(text: str) -> Note:
    """Return a note that may bite."""
    return Note(Weight.WARNING, text)
