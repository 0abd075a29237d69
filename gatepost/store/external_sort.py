"""Sort more rows than fit into memory, through one nameless file.

Purpose: rows that come in the order of their key touch each page of a table once; in any other
order, ten million of them write most pages again for each row, some 40 GB of them.
Format: runs of sorted rows, in blocks of `marshal` behind their length; the file has no name from
the moment that it is made, so that nothing is left of it however the process ends.
Limits: one run in memory, some 80 MiB for 200,000 rows of the suppression list, and then a block of
each run. Rows that fit into one run need no file.
Errors: OSError if the file cannot be made or written, such as on a full disk.
Security: the file has mode 0600.
"""

from __future__ import annotations

import heapq
import marshal
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

RUN_ROWS = 200_000
_BLOCK_ROWS = 500
_LENGTH = struct.Struct(">I")

Row = tuple[int | bytes | str | None, ...]


def sorted_rows(rows: Iterable[Row], directory: Path, run_rows: int = RUN_ROWS) -> Iterator[Row]:
    """Yield rows in order, once all of them are there.

    Args:
        rows: Tuples that differ before a place at which None could stand.
        directory: Where the file is made.
        run_rows: Rows to hold in memory.
    """
    rows = iter(rows)
    run = sorted(islice(rows, run_rows))
    if len(run) < run_rows:
        yield from run
        return
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        descriptor = file.fileno()
        runs = []
        begin = 0
        while run:
            end = _write(descriptor, begin, run)
            runs.append(_read(descriptor, begin, end))
            begin = end
            # Before the next one is built, so that never two are there.
            run.clear()
            run = sorted(islice(rows, run_rows))
        yield from heapq.merge(*runs)


def _write(descriptor: int, place: int, run: list[Row]) -> int:
    """Write a run, and return where it ends."""
    for start in range(0, len(run), _BLOCK_ROWS):
        block = marshal.dumps(run[start : start + _BLOCK_ROWS])
        data = _LENGTH.pack(len(block)) + block
        while data:
            written = os.pwrite(descriptor, data, place)
            place += written
            data = data[written:]
    return place


def _read(descriptor: int, place: int, end: int) -> Iterator[Row]:
    while place < end:
        (length,) = _LENGTH.unpack(os.pread(descriptor, _LENGTH.size, place))
        place += _LENGTH.size
        # Nobody else can have written to a file without a name.
        yield from marshal.loads(os.pread(descriptor, length, place))  # noqa: S302
        place += length
