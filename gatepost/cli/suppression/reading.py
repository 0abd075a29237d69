"""A file with a suppression list, on its way into the store.

Purpose: read it line by line, in flat memory, and remember what was wrong.
Errors: `GatepostError` if it cannot be read; `StrictlyBad`.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TextIO

from gatepost.errors import GatepostError
from gatepost.feedback.suppression import Suppressed
from gatepost.feedback.suppression_table import BadLine, Defaults, bounded_lines, read_entries
from gatepost.runtime.log import clean

STANDARD_INPUT = "-"
SHOWN = 10
KEPT = 1000
_TOLD_EVERY = 5_000
# With or without the mark that Windows puts at the beginning.
_ENCODING = "utf-8-sig"


@dataclass(slots=True)
class Reading:
    """A file on its way.

    Attributes:
        file: As it was named.
        strict: Whether a bad line makes all of it fail.
        taken: Entries by tenant.
        ended: Entries left out because they had ended.
        bad: The first bad lines.
        bad_count: How many there were.
        size: Octets of the file, or None.
        place: Octets read.
        tell: Is told now and then.
    """

    file: str
    strict: bool
    taken: Counter[str] = field(default_factory=Counter)
    ended: int = 0
    bad: list[BadLine] = field(default_factory=list)
    bad_count: int = 0
    size: int | None = None
    place: int = 0
    tell: Callable[[], None] = lambda: None

    @property
    def name(self) -> str:
        """The file in messages."""
        return "standard input" if self.file == STANDARD_INPUT else self.file

    def entries(self, defaults: Defaults) -> Iterator[Suppressed]:
        """Yield what is to be stored.

        Args:
            defaults: What holds where the file does not say.

        Raises:
            GatepostError: If the file cannot be read.
            StrictlyBad: At the end, if a bad line is too many.
            MalformedMessage: If its header has no addresses.
        """
        try:
            with self._open() as (text, octets):
                for number, each in enumerate(read_entries(bounded_lines(text.readline), defaults)):
                    if number % _TOLD_EVERY == 0:
                        self.place = octets.tell() if self.size else 0
                        self.tell()
                    if (entry := self._kept(each, defaults.now)) is not None:
                        yield entry
        except OSError as error:
            raise GatepostError(f"{self.name}: {error.strerror}") from error
        self.place = self.size or 0
        self.tell()
        if self.strict and self.bad_count:
            raise StrictlyBad(self)

    def _kept(self, each: Suppressed | BadLine, now: float) -> Suppressed | None:
        if isinstance(each, BadLine):
            self.bad_count += 1
            if len(self.bad) < KEPT:
                self.bad.append(each)
            return None
        if not each.holds(now):
            self.ended += 1
            return None
        self.taken[each.tenant] += 1
        return each

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple[TextIO, BinaryIO]]:
        if self.file == STANDARD_INPUT:
            # Standard input is not ours to close.
            octets: BinaryIO = sys.stdin.buffer
            text = io.TextIOWrapper(octets, _ENCODING, errors="surrogateescape", newline="")
            try:
                yield text, octets
            finally:
                text.detach()
            return
        with Path(self.file).open("rb") as octets:
            self.size = Path(self.file).stat().st_size or None
            with io.TextIOWrapper(octets, _ENCODING, errors="surrogateescape", newline="") as text:
                yield text, octets


class StrictlyBad(GatepostError):
    """A file with bad lines, of which nothing was stored."""

    def __init__(self, reading: Reading) -> None:
        shown = "; ".join(f"line {each.line}: {each.problem}" for each in reading.bad[:SHOWN])
        more = reading.bad_count - SHOWN
        also = f"; and {more} more" if more > 0 else ""
        super().__init__(clean(f"{reading.name}: nothing was stored; {shown}{also}"))
