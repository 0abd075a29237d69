"""The mails in files, directories, mailboxes and on standard input.

Format: a file that begins with "From " is an mbox: each line "From " behind an empty line begins a
mail, which is called FILE:N, N being its number. Any other file is one mail. Of a directory, and of
those below it, all files are taken whose name does not begin with a dot, in the order of their
paths; a "tmp" beside "new" is a Maildir's and left out.
Limits: 64 MiB of a mail, as much as `intake` is ever offered; what follows is not read.
Errors: `OSError`, from reading.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

STANDARD_INPUT = "-"
MAX_MAIL_OCTETS = 64 * 1024 * 1024

_LINE_OCTETS = 64 * 1024
_FROM = b"From "


def paths_of(name: str) -> Iterator[str]:
    """Yield the files that a name on the command line stands for, the name itself if it is one."""
    path = Path(name)
    if name == STANDARD_INPUT or not path.is_dir():
        yield name
        return
    for found in sorted(path.rglob("*")):
        if not _left_out(found.relative_to(path), path) and found.is_file():
            yield str(found)


def _left_out(relative: Path, root: Path) -> bool:
    if any(part.startswith(".") and part not in {".", ".."} for part in relative.parts):
        return True
    parents = [root / each for each in relative.parents if each.name == "tmp"]
    return any((each.parent / "new").is_dir() for each in parents)


def mails_in(name: str) -> Iterator[tuple[str, bytes]]:
    """Yield the mails of one file: what to call each, and its octets.

    Raises:
        OSError: If the file cannot be read.
    """
    if name == STANDARD_INPUT:
        yield from _mails(sys.stdin.buffer, name)
        return
    with Path(name).open("rb") as file:
        yield from _mails(file, name)


def _mails(file: BinaryIO, name: str) -> Iterator[tuple[str, bytes]]:
    first = file.readline(_LINE_OCTETS)
    if not first.startswith(_FROM):
        yield name, first + file.read(MAX_MAIL_OCTETS - len(first))
        return
    for count, octets in enumerate(_mbox(file), 1):
        yield f"{name}:{count}", octets


def _mbox(file: BinaryIO) -> Iterator[bytes]:
    """Yield the mails of an mbox whose first line has been read."""
    lines: list[bytes] = []
    size, empty, whole = 0, False, True
    while line := file.readline(_LINE_OCTETS):
        if empty and line.startswith(_FROM):
            yield b"".join(lines)
            lines, size, empty = [], 0, False
            continue
        if size < MAX_MAIL_OCTETS:
            lines.append(line)
            size += len(line)
        # A line that is longer than what is read at once comes in pieces.
        empty = whole and line in {b"\n", b"\r\n"}
        whole = line.endswith(b"\n")
    yield b"".join(lines)
