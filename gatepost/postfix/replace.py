"""Replacing one file of Postfix's, whole or not at all, the way Postfix does it itself.

Purpose: whoever reads main.cf at any moment, or after a power cut, finds the old text or the new
one. A ``postconf -e`` at the same moment waits for us and we for it.
Source: Postfix src/util/edit_file.c: new content goes to ``<file>.tmp``, mode 0600, under an
exclusive lock on that file, which then takes the place of the old one. A ``.tmp`` that a killed
process left behind is used again, and so never piles up.
Limits: 10 s for another editor to finish.
Errors: `AttachError` if another editor holds on, if the file is not what the change was computed
from, or if the system refuses.
Security: owner, mode, ACL and other extended attributes are those of the old file. A symbolic link
stays, and what it points at is replaced.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from gatepost.errors import AttachError

SUFFIX = ".tmp"
_TMP_MODE = 0o600
WAIT_S = 10.0
_POLL_S = 0.02
_CHUNK = 1 << 20


def replace(path: Path, old: bytes, new: bytes, *, wait_s: float = WAIT_S) -> None:
    """Give an existing file new content.

    Args:
        path: The file.
        old: What it must hold now.
        new: What it is to hold.
        wait_s: Seconds to wait for another editor.

    Raises:
        AttachError: See the head of this module; the file is then as it was.
    """
    try:
        target = path.resolve(strict=True)
        with _tmp(target, wait_s) as descriptor:
            if target.read_bytes() != old:
                raise AttachError(
                    f"{path} has been changed by somebody else in the meantime; run the command "
                    "again"
                )
            _write(descriptor, new)
            _copy_attributes(target, descriptor)
            os.fsync(descriptor)
            _tmp_path(target).rename(target)
            sync_directory(target.parent)
    except OSError as error:
        raise AttachError(f"cannot replace {path}: {error.strerror or error}") from error


def create(path: Path, content: bytes, mode: int) -> None:
    """Make a file, or give it new content, in one step.

    Args:
        path: The file; its directory must exist.
        content: What it is to hold.
        mode: Permission bits.

    Raises:
        AttachError: If the system refuses.
    """
    try:
        with _tmp(path) as descriptor:
            _write(descriptor, content)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
            _tmp_path(path).rename(path)
            sync_directory(path.parent)
    except OSError as error:
        raise AttachError(f"cannot write {path}: {error.strerror or error}") from error


def discard_tmp(path: Path) -> None:
    """Remove what a killed process left beside a file, unless somebody is writing it now."""
    with contextlib.suppress(OSError, AttachError):
        target = path.resolve(strict=True)
        if _tmp_path(target).exists():
            with _tmp(target, wait_s=0):
                pass


def sync_directory(directory: Path) -> None:
    """Make the names in a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tmp_path(target: Path) -> Path:
    return target.with_name(target.name + SUFFIX)


@contextlib.contextmanager
def _tmp(target: Path, wait_s: float = WAIT_S) -> Iterator[int]:
    """Hold the temporary file, empty, locked and surely still under its name.

    It is removed at the end unless it has been renamed.
    """
    path = _tmp_path(target)
    deadline = time.monotonic() + wait_s
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, _TMP_MODE)
        try:
            _lock(descriptor, path, deadline)
            if not _still_there(descriptor, path):
                continue
            if not _fresh(os.fstat(descriptor)):
                # Half of a rename, or not made by this protocol: never write into it.
                path.unlink(missing_ok=True)
                continue
            os.ftruncate(descriptor, 0)
            try:
                yield descriptor
            finally:
                if _still_there(descriptor, path):
                    path.unlink()
            return
        finally:
            os.close(descriptor)


def _lock(descriptor: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise AttachError(
                    f"{path} is locked: postconf or another program is writing it; run the "
                    "command again when it has finished"
                ) from None
            time.sleep(_POLL_S)
        else:
            return


def _still_there(descriptor: int, path: Path) -> bool:
    held = os.fstat(descriptor)
    try:
        named = path.lstat()
    except FileNotFoundError:
        return False
    return (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino)


def _fresh(status: os.stat_result) -> bool:
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_nlink == 1
        and stat.S_IMODE(status.st_mode) == _TMP_MODE
    )


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view[:_CHUNK]) :]


def _copy_attributes(source: Path, descriptor: int) -> None:
    status = source.stat()
    os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source):
        try:
            os.setxattr(descriptor, name, os.getxattr(source, name))
        except OSError as error:
            # The kernel labels a new file in this directory as it labelled the old one; in a
            # container nobody may do it by hand.
            allowed = {errno.EPERM, errno.EOPNOTSUPP}
            if not (name.startswith("security.") and error.errno in allowed):
                raise
