"""Directories made as root, and then a life without root.

Purpose: nothing that reads mail or configuration changes runs as root. Whoever is started as root
makes the directories that are missing, gives them to the user of Gatepost and becomes that user.
Source: Postfix MILTER_README ("UNIX-domain sockets": the socket's permissions are the milter's
concern), postconf(5) mail_owner; setgroups(2), setuid(2).
Format: the socket directory is ``<user>:<group of Postfix>`` with mode 2750, so that sockets made
in it belong to Postfix's group without any further right; run and state directory are the user's,
with mode 0750.
Errors: `StartError`.
Security: a configuration may name any directory. Owner and mode are set on one that was missing, is
empty and root's, or belongs to the user of Gatepost already; on any other nothing is changed, and
the start is refused. Contents are never changed, and no symbolic link is followed.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gatepost.errors import StartError

PRIVATE_MODE = 0o750
PARENT_MODE = 0o755


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
        setting: The setting that names it, for messages.
    """

    path: Path
    mode: int = PRIVATE_MODE
    gid: int | None = None
    setting: str = ""


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


def user_name(uid: int) -> str:
    """Return the name of a user, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def prepare(directories: Iterable[Directory], account: Account) -> None:
    """Make the directories that are missing and, as root, set their owner, group and mode.

    Raises:
        StartError: If one cannot be made, stands on something that is no directory, or is there
            and is not the account's.
    """
    # One may lie in another, which would not be empty any more when its own turn comes.
    for directory in sorted(directories, key=lambda each: len(each.path.parts)):
        try:
            _make(directory.path)
            if os.geteuid() == 0:
                _own(directory, account)
        except FileExistsError as error:
            raise StartError(f"{directory.path}: is in the way and is no directory") from error
        except OSError as error:
            raise StartError(
                f"{directory.path}: cannot make this directory: {error.strerror}; "
                "start as root once, or make it by hand"
            ) from error


def _make(path: Path) -> None:
    for parent in reversed([each for each in path.parents if not each.exists()]):
        # One that appears meanwhile is not ours to change.
        with contextlib.suppress(FileExistsError):
            parent.mkdir()
            # Whatever the umask is: our account must be able to pass.
            parent.chmod(PARENT_MODE)
    path.mkdir(mode=PRIVATE_MODE, exist_ok=True)


def _own(directory: Directory, account: Account) -> None:
    gid = account.gid if directory.gid is None else directory.gid
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(directory.path, flags)
    try:
        # In this order: another role that starts now sets the owner before it puts anything in.
        empty = not os.listdir(descriptor)  # noqa: PTH208
        found = os.fstat(descriptor)
        as_wanted = (account.uid, gid, directory.mode)
        if (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == as_wanted:
            return
        # What root owns may be anybody's, also where Gatepost is to run as root. Only an empty one
        # can have been made for us.
        ours = found.st_uid == account.uid != 0
        if not ours and not (empty and found.st_uid in (0, account.uid)):
            raise StartError(_not_ours(directory, found, account, gid))
        os.fchown(descriptor, account.uid, gid)
        # Last: a change of owner takes the set-group-id bit away.
        os.fchmod(descriptor, directory.mode)
    finally:
        os.close(descriptor)


def _not_ours(directory: Directory, found: os.stat_result, account: Account, gid: int) -> str:
    setting = directory.setting or "the configuration"
    path = shlex.quote(str(directory.path))
    return (
        f"{directory.path}: is there already and belongs to {user_name(found.st_uid)}, so its "
        f"owner and mode are left alone; name a directory in {setting} that is Gatepost's alone, "
        f"or if this one is meant to be, run: chown {account.name}:{group_name(gid)} {path} && "
        f"chmod {directory.mode:04o} {path}"
    )


def become(account: Account) -> None:
    """Be this account from now on, for good; as that account already, do nothing.

    Raises:
        StartError: If we are neither root nor that account.
    """
    if os.geteuid() == account.uid:
        return
    if os.geteuid() != 0:
        raise StartError(
            f"started as user {user_name(os.geteuid())}; start as root or as {account.name}, or "
            "name the user in the configuration"
        )
    try:
        os.initgroups(account.name, account.gid)
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
    except OSError as error:
        raise StartError(f"cannot become user {account.name}: {error.strerror}") from error
