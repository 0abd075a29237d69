"""Directories made as root, and then a life without root.

Purpose: nothing that reads mail or configuration changes runs as root. Whoever is started as root
makes the directories that are missing, gives them to the user of Gatepost and becomes that user.
Source: Postfix MILTER_README ("UNIX-domain sockets": the socket's permissions are the milter's
concern), postconf(5) mail_owner; setgroups(2), setuid(2).
Format: the socket directory is ``<user>:<group of Postfix>`` with mode 2750, so that sockets made
in it belong to Postfix's group without any further right; run and state directory are the user's,
with mode 0750.
Errors: `StartError`.
Security: only directories that are missing or already ours are changed, never their contents, and
never through a symbolic link.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gatepost.errors import StartError

PRIVATE_MODE = 0o750


@dataclass(frozen=True, slots=True)
class Account:
    """Who to be.

    Attributes:
        name: Login name.
        uid: User id.
        gid: Primary group id.
    """

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory to have.

    Attributes:
        path: Where.
        mode: Permission bits.
        gid: Its group, or None for the account's own.
    """

    path: Path
    mode: int = PRIVATE_MODE
    gid: int | None = None


def find_account(name: str) -> Account:
    """Return the account of a name; the empty name is whoever runs this.

    Raises:
        StartError: If there is none.
    """
    try:
        entry = pwd.getpwnam(name) if name else pwd.getpwuid(os.geteuid())
    except KeyError as error:
        raise StartError(
            f"there is no user {name or os.geteuid()}; create it with: adduser --system --group "
            f"--no-create-home --home /nonexistent {name}"
        ) from error
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def find_group(name: str) -> int:
    """Return the number of a group.

    Raises:
        StartError: If there is none.
    """
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise StartError(
            f"there is no group {name}; name the group of Postfix's own account in postfix.group"
        ) from error


def group_name(gid: int) -> str:
    """Return the name of a group, or its number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def prepare(directories: Iterable[Directory], account: Account) -> None:
    """Make the directories that are missing and, as root, set their owner, group and mode.

    Raises:
        StartError: If one cannot be made, or stands on something that is no directory.
    """
    for directory in directories:
        try:
            directory.path.mkdir(mode=PRIVATE_MODE, parents=True, exist_ok=True)
            if os.geteuid() == 0:
                _own(directory, account)
        except FileExistsError as error:
            raise StartError(f"{directory.path}: is in the way and is no directory") from error
        except OSError as error:
            raise StartError(
                f"{directory.path}: cannot make this directory: {error.strerror}; "
                "start as root once, or make it by hand"
            ) from error


def _own(directory: Directory, account: Account) -> None:
    gid = account.gid if directory.gid is None else directory.gid
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(directory.path, flags)
    try:
        found = os.fstat(descriptor)
        if (found.st_uid, found.st_gid) != (account.uid, gid):
            os.fchown(descriptor, account.uid, gid)
        # Last: a change of owner takes the set-group-id bit away.
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != directory.mode:
            os.fchmod(descriptor, directory.mode)
    finally:
        os.close(descriptor)


def become(account: Account) -> None:
    """Be this account from now on, for good; as that account already, do nothing.

    Raises:
        StartError: If we are neither root nor that account.
    """
    if os.geteuid() == account.uid:
        return
    if os.geteuid() != 0:
        raise StartError(
            f"started as user {_own_name()}; start as root or as {account.name}, or name the "
            "user in the configuration"
        )
    try:
        os.initgroups(account.name, account.gid)
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
    except OSError as error:
        raise StartError(f"cannot become user {account.name}: {error.strerror}") from error


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
