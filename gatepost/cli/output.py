"""Standard output and error of the commands: every octet gets out, or one sentence says why not.

Purpose: main.cf, an envelope sender or a path may hold octets that are no text, which Python reads
as surrogate escapes; a strict stream would end a command with a traceback, after its work is done.
Format: such an octet is written as it was read; a character that the encoding of the locale lacks
is written as an escape, with a backslash.
Errors: `OutputFailed`, from whatever writes to standard output; what cannot be written to standard
error is lost, as there is nobody left to tell.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
from typing import TextIO

UNWRITTEN = 3

_HANDLER = "gatepost.octets"
_FIRST, _LAST = 0xDC80, 0xDCFF


class OutputFailed(Exception):
    """Standard output takes no more.

    No `OSError`, so that nobody takes it for trouble with the files that the command works on.

    Attributes:
        quiet: Whether the reader has gone, as head(1) does, which is nothing to complain of.
    """

    def __init__(self, cause: OSError) -> None:
        self.quiet = cause.errno == errno.EPIPE
        super().__init__(cause.strerror or str(cause))


class _Output(io.TextIOWrapper):
    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise OutputFailed(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise OutputFailed(error) from error


class _Errors(io.TextIOWrapper):
    def write(self, text: str, /) -> int:
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


def set_up_streams() -> None:
    """Have standard output and standard error take every octet, from now on."""
    codecs.register_error(_HANDLER, _as_read)
    sys.stdout = _wrapped(_Output, sys.stdout, 1)
    sys.stderr = _wrapped(_Errors, sys.stderr, 2)


def give_up(failure: OutputFailed) -> int:
    """Say that the output is not whole, and return the exit status for that."""
    if not failure.quiet:
        print(
            f"gatepost: cannot write to standard output: {failure}; the command itself is done",
            file=sys.stderr,
        )
    # What is still waiting would fail again when Python ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 1)
    return UNWRITTEN


def _wrapped(kind: type[io.TextIOWrapper], stream: TextIO | None, number: int) -> TextIO:
    if stream is None:
        return kind(_nowhere(number), encoding="utf-8", errors=_HANDLER)
    return kind(
        stream.buffer,
        encoding=stream.encoding,
        errors=_HANDLER,
        line_buffering=number == 2 or stream.isatty(),
    )


def _nowhere(number: int) -> io.BufferedWriter:
    """Return a stream that takes nothing, in place of one that whoever started us has closed.

    Without it, the next file that is opened would get the number, and what is printed.
    """
    descriptor = os.open(os.devnull, os.O_RDONLY)
    if descriptor != number:
        os.dup2(descriptor, number)
        os.close(descriptor)
    return io.BufferedWriter(io.FileIO(number, "w", closefd=False))


def _as_read(error: UnicodeError) -> tuple[bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return b"".join(map(_octets, lost)), error.end


def _octets(character: str) -> bytes:
    code = ord(character)
    if _FIRST <= code <= _LAST:
        return bytes([code - 0xDC00])
    return character.encode("ascii", "backslashreplace")
