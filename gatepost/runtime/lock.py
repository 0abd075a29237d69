"""One living process for each role: a lock that the kernel gives back when its holder dies.

Purpose: two milters or two policy servers of one installation would take each other's sockets.
Format: ``<run_dir>/<role>.lock`` holds the process id of the holder. The lock is what counts; the
number is for people, and for the supervisor that takes over from one that was killed.
Errors: `RoleLock` raises `StartError`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from gatepost.errors import StartError

LOCK_MODE = 0o640


class RoleLock:
    """Held from its making until `release`, or until the process ends."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            StartError: If a living process holds it, or the file cannot be made.
        """
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, LOCK_MODE)
        except FileNotFoundError as error:
            raise StartError(
                f"{path.parent}: does not exist; create it for the user of Gatepost, "
                "or start as root, which creates it"
            ) from error
        except OSError as error:
            raise StartError(f"{path}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise StartError(
                f"{path}: {path.stem} runs already, as process {_number(path) or 'unknown'}; "
                "stop that one first"
            ) from error
        # On a full disk there is no number in it; the lock holds all the same.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Give the lock back; the file stays, as removing it would let two hold it."""
        os.close(self._descriptor)


def holder_of(path: Path) -> int | None:
    """Return the process id of the living holder of a lock, or None if nobody holds it.

    For the supervisor only: looking takes the lock for a moment, in which a role that starts would
    find it taken.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Shared, so that two who look at the same time do not see each other.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _number(path)
    finally:
        os.close(descriptor)
    return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
