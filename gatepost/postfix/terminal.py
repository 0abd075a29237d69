"""Running a command whose messages go to a terminal or to the log, and nowhere else.

Purpose: Postfix's scripts report through postlog(1), which writes to standard error only where
that is a terminal. ``postfix check`` that fails would otherwise tell us nothing but its status.
Source: postlog(1); pty(7).
Limits: output of 64 KiB; the rest is read and dropped, so that the command never blocks on us.
Errors: `PostfixUnavailable` if the command takes too long or cannot be started.
"""

from __future__ import annotations

import errno
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence

from gatepost.errors import PostfixUnavailable

_MAX_OUTPUT = 64 * 1024
_READ = 4096


def run_on_terminal(
    command: Sequence[str], timeout_s: float, environment: Mapping[str, str]
) -> tuple[int, str]:
    """Run a command to its end; return its exit status and what it printed.

    Args:
        command: Program, by its full path, and arguments.
        timeout_s: Seconds after which it is killed.
        environment: Its environment.

    Raises:
        PostfixUnavailable: If it takes longer or cannot be started.
    """
    ours, theirs = os.openpty()
    try:
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env=dict(environment),
            start_new_session=True,
        ) as process:
            os.close(theirs)
            theirs = -1
            printed = _read(ours, time.monotonic() + timeout_s)
            if printed is None:
                process.kill()
                raise PostfixUnavailable(
                    f"{' '.join(command)}: no result within {timeout_s:g} seconds"
                )
            status = process.wait()
    except OSError as error:
        raise PostfixUnavailable(f"{' '.join(command)}: {error.strerror}") from error
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)
    text = printed.decode("utf-8", "surrogateescape")
    # The terminal turns each line feed into carriage return and line feed.
    return status, text.replace("\r\n", "\n")


def _read(descriptor: int, deadline: float) -> bytes | None:
    """Return what is written until the last writer has gone, or None at the deadline."""
    printed = bytearray()
    while True:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        try:
            data = os.read(descriptor, _READ)
        except OSError as error:
            # Linux says so when nobody holds the other side any more.
            if error.errno != errno.EIO:
                raise
            return bytes(printed)
        if not data:
            return bytes(printed)
        printed += data[: _MAX_OUTPUT - len(printed)]
