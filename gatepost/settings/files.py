"""Read the files of a configuration, and look at who else may read or write them.

Purpose: whatever stands at a path (a directory, a pipe, a file of 10 GB) is told in one sentence
and never makes a reload hang.
Limits: 64 MiB a file (`tree.MAX_FILE_OCTETS`); 200,000 files in tenants_dir, one for each tenant of
a large platform.
Errors: `read_file` and `list_files` raise `Rejected`.
Security: a secret file must belong to root, to the account of the service or to whoever reads it;
nobody but they and the group of the service may read it, and nobody else may write it.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from gatepost.settings.problems import Rejected
from gatepost.settings.tree import MAX_FILE_OCTETS

MAX_FILES = 200_000
TENANT_SUFFIXES = frozenset({".yaml", ".yml"})


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was read.

    Attributes:
        name: The file as it is named in messages.
        octets: What it holds.
        mode: Permission bits.
        owner: User id of its owner.
        group: Group id of its group.
    """

    name: str
    octets: bytes
    mode: int
    owner: int
    group: int


def read_file(path: Path) -> Source:
    """Return a regular file.

    Raises:
        Rejected: If it cannot be read, is no file or is too large.
    """
    try:
        # Without O_NONBLOCK, to open a named pipe would wait for somebody to write.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Rejected("is not a file", "give the path of a file")
            # The size is asked first: to read at most 64 MiB, Python makes room for 64 MiB.
            octets = file.read() if status.st_size <= MAX_FILE_OCTETS else b""
    except OSError as error:
        raise unreadable(error) from error
    except ValueError as error:
        raise Rejected(f"cannot be read: {error}", "give the path of a file") from error
    if max(status.st_size, len(octets)) > MAX_FILE_OCTETS:
        raise Rejected(
            f"is larger than {MAX_FILE_OCTETS // 2**20} MiB", "spread the tenants over tenants_dir"
        )
    mode = stat.S_IMODE(status.st_mode)
    return Source(str(path), octets, mode, status.st_uid, status.st_gid)


def list_files(directory: Path) -> tuple[list[Path], list[str]]:
    """Return the configuration files of a directory, in the order of names, and what else it has.

    Hidden files count as nothing: editors and package managers leave them.

    Raises:
        Rejected: If the directory cannot be read or holds too many files.
    """
    found, others = [], []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if Path(entry.name).suffix in TENANT_SUFFIXES:
                    found.append(entry.name)
                else:
                    others.append(entry.name)
    except OSError as error:
        raise unreadable(error) from error
    if len(found) > MAX_FILES:
        raise Rejected(f"holds more than {MAX_FILES} files", "put several tenants into a file")
    return [directory / name for name in sorted(found)], sorted(others)


def unreadable(error: OSError) -> Rejected:
    """Return what to say about a file that the system does not give us."""
    remedies = {
        "FileNotFoundError": "correct the path, or create it; gatepost init writes a first one",
        "PermissionError": "run the command as root, or let the account of the service read it",
        "NotADirectoryError": "give the path of a directory",
        "IsADirectoryError": "give the path of a file",
    }
    reason = os.strerror(error.errno) if error.errno else str(error)
    remedy = remedies.get(type(error).__name__, "make it readable")
    return Rejected(f"cannot be read: {reason}", remedy)


def secrecy_problem(source: Source, user: str) -> Rejected | None:
    """Return why a secret file is not secret, or None.

    Args:
        source: The file.
        user: The account of the service.
    """
    account = _account(user)
    owners = {0, os.geteuid()} | ({account.pw_uid} if account else set())
    remedy = f"run: chown {user} {source.name}; chmod 600 {source.name}"
    if source.owner not in owners:
        return Rejected(f"belongs to {_user_name(source.owner)}", remedy)
    if source.mode & 0o007:
        return Rejected(f"is open to everybody (mode {source.mode:04o})", remedy)
    if source.mode & 0o020:
        return Rejected(f"can be written by its group (mode {source.mode:04o})", remedy)
    if source.mode & 0o040 and source.group not in {0, account.pw_gid if account else 0}:
        return Rejected(f"can be read by group {_group_name(source.group)}", remedy)
    return None


def _account(user: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        return None


def _user_name(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user number {uid}"


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"number {gid}"
