"""Write the first configuration and its keys, and later a further key.

Purpose: what ``gatepost init`` does. Nothing that is there is overwritten, and no moment exists at
which a file is half written or a key readable for others.
Errors: `StartError` where the system refuses, `ConfigErrors` where a key file is wrong already.
Security: a file gets its mode before its content, and its owner before its name.
"""

from __future__ import annotations

import datetime as dt
import os
import pwd
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gatepost.errors import StartError
from gatepost.settings.keyring import rotated
from gatepost.settings.load import read_keys

CONFIG_MODE = 0o644
KEY_MODE = 0o600
DIRECTORY_MODE = 0o755


def account_exists(user: str) -> bool:
    """Tell whether the system has an account."""
    return _ids(user) is not None


def write_new(path: Path, text: str, mode: int, user: str | None = None) -> bool:
    """Write a file unless there is one.

    Args:
        path: Where.
        text: What.
        mode: Permission bits.
        user: Account that it shall belong to, if there is one of that name.

    Returns:
        Whether it was written.

    Raises:
        StartError: If it cannot be.
    """
    if path.exists() or path.is_symlink():
        return False
    with _errors(path), finished_file(path, text, mode, _ids(user) if user else None) as temporary:
        try:
            # A link, and no rename: it fails where somebody else was quicker.
            os.link(temporary, path)
        except FileExistsError:
            return False
    return True


def write_over(path: Path, text: str, mode: int, before: bytes | None) -> None:
    """Give a file new content, or make it.

    Args:
        path: Where; of a link, what it leads to.
        text: What.
        mode: Permission bits of a new file; one that is there keeps its own, and its owner.
        before: What it held when the change was thought out, or None if it was not there.

    Raises:
        StartError: If it cannot be written, or holds something else by now.
    """
    with _errors(path):
        target = path.resolve()
        there = target.read_bytes() if target.exists() else None
        if there != before:
            raise StartError(f"{path} has been changed in the meantime; run the command again")
        owner = None
        if there is not None:
            status = target.stat()
            mode, owner = status.st_mode & 0o777, (status.st_uid, status.st_gid)
        with finished_file(target, text, mode, owner) as temporary:
            temporary.replace(target)


def make_directory(path: Path) -> bool:
    """Make a directory unless there is one, and tell whether it was made.

    Raises:
        StartError: If it cannot be made.
    """
    if path.is_dir():
        return False
    with _errors(path):
        path.mkdir(DIRECTORY_MODE, parents=True)
    return True


def rotate_key(path: Path, user: str, today: dt.date) -> int:
    """Put a further key that signs into a key file, and return its number.

    Args:
        path: The key file.
        user: Account of the service.
        today: The day.

    Raises:
        ConfigErrors: If the file is not right as it is.
        StartError: If it cannot be written, or holds as many keys as it can.
    """
    result = rotated(read_keys(path, user), today)
    if result is None:
        raise StartError(f"{path}: every key number is taken; remove keys that have ended")
    text, number = result
    with _errors(path):
        status = path.stat()
        owner = (status.st_uid, status.st_gid)
        with finished_file(path, text, status.st_mode & 0o777, owner) as temporary:
            temporary.replace(path)
    return number


@contextmanager
def finished_file(
    path: Path, text: str, mode: int, owner: tuple[int, int] | None
) -> Iterator[Path]:
    """Yield a finished file in the directory of `path`, and remove it if it is still there.

    Args:
        path: The file whose place it may take.
        text: What it holds.
        mode: Permission bits.
        owner: Its user and group, or None for those of this process.

    Raises:
        OSError: If it cannot be written.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            if owner is not None and owner != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StartError(f"{path}: cannot be written: {error.strerror or error}") from error


def _ids(user: str) -> tuple[int, int] | None:
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return None
    return account.pw_uid, account.pw_gid
