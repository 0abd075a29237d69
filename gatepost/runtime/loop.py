"""One uvloop loop for the length of a process.

Purpose: uvloop is faster than asyncio's own loop and takes less memory for a TLS connection; but it
cannot be closed ("Device or resource busy") while a connection that nobody needs any more is still
closing in good order. The process ends anyhow, so the loop is left open.
Errors: those of what is run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import uvloop

T = TypeVar("T")

# A loop that is taken apart tries to close, too.
_KEPT: Final[list[asyncio.Runner]] = []


def run_in_uvloop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; to be the last thing but one that a process does."""
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    _KEPT.append(runner)
    return runner.run(main)
