"""Files that a command writes on request, and never over another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def new_file(path: Path, mode: int) -> Iterator[TextIO]:
    """Yield a file that was not there before, for octets that are no text as well.

    If it does not become whole, it is removed: half a list asks for less than the whole, and
    nothing in it shows that.

    Args:
        path: Where.
        mode: Its permissions, before the umask.

    Raises:
        OSError: If it is there already, or cannot be written.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(
            descriptor, "w", encoding="utf-8", errors="surrogateescape", newline=""
        ) as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise
