"""Files of Postfix as a test writes them.

Postfix's commands wait until a file is a second or two old before they read it, lest they read half
of what an editor is writing; and one that finds no main.cf waits a second before it ends.
"""

from __future__ import annotations

import os
from pathlib import Path


def settle(*paths: Path) -> None:
    """Make files look a minute old."""
    for path in paths:
        past = path.stat().st_mtime - 60
        os.utime(path, (past, past))


def write_settled(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    settle(path)
